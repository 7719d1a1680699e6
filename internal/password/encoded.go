package password

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt"
	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/argon2"
	"github.com/go-crypt/crypt/algorithm/bcrypt"
	"github.com/go-crypt/crypt/algorithm/pbkdf2"
	"github.com/go-crypt/crypt/algorithm/scrypt"
	"github.com/go-crypt/crypt/algorithm/shacrypt"
)

// The most that checking one stored hash may cost. Hashes carry their own
// parameters, and the library honours all of them: one imported line that says
// m=4294967295 would ask for four terabytes at that user's next login. The
// bounds are several times what any known product writes.
const (
	maxEncoded       = 512     // characters
	maxMemoryKiB     = 262144  // 256 MiB, argon2 and scrypt
	maxArgonWork     = 1 << 20 // KiB times passes
	maxParallelism   = 64
	maxKey           = 64 // bytes; PBKDF2 works once per block of output
	maxSalt          = 64
	maxScryptWork    = 1 << 20 // KiB times lanes
	maxPBKDF2        = 5_000_000
	minSHACrypt      = 1000
	maxSHACrypt      = 2_000_000
	minBcrypt        = 4
	maxBcrypt        = 16
	bcryptMax        = 72 // bytes of password that bcrypt reads
	schemeArgon2id   = "argon2id"
	schemeBcrypt     = "bcrypt"
	schemeBcryptSHA2 = "bcrypt-sha256"
)

// params is what a stored hash says about itself, as far as upgrades and
// bounds need it.
type params struct {
	scheme                          string
	memory, iterations, parallelism uint64
	salt, key                       int
}

// decoder reads every scheme that counts as a password hash. It is put together
// here and not taken from the library's ready-made ones: those change with the
// library, and one of them reads the plain-text format, with which a line of an
// import, or of a stolen backup, would be a password itself.
var decoder = func() *crypt.Decoder {
	d := crypt.NewDecoder()
	for _, register := range []func(algorithm.DecoderRegister) error{
		argon2.RegisterDecoder, bcrypt.RegisterDecoder, scrypt.RegisterDecoderScrypt,
		pbkdf2.RegisterDecoder, shacrypt.RegisterDecoder,
	} {
		if err := register(d); err != nil {
			panic(err) // a scheme was registered twice: a mistake in this list
		}
	}
	return d
}()

var errFormat = errors.New("not a password hash of a known format")

// decode reads a stored hash and refuses one that costs too much to check. Its
// errors never hold the hash, which may well be a password in the wrong column.
func decode(encoded string) (algorithm.Digest, params, error) {
	if len(encoded) > maxEncoded {
		return nil, params{}, fmt.Errorf("password hash is longer than %d characters", maxEncoded)
	}
	p, err := readParams(crypt.Normalize(encoded))
	if err != nil {
		return nil, params{}, err
	}
	digest, err := decoder.Decode(encoded)
	if err != nil {
		return nil, params{}, fmt.Errorf("%w (%s)", errFormat, p.scheme)
	}
	if p.scheme == "5" || p.scheme == "6" {
		p.salt, p.key = len(digest.Salt()), len(digest.Key())
		if want := map[string]int{"5": 43, "6": 86}[p.scheme]; p.key != want {
			return nil, params{}, fmt.Errorf("SHA-crypt hash of %d characters, which is always %d", p.key, want)
		}
		if p.salt > shacrypt.SaltLengthMax {
			return nil, params{}, fmt.Errorf("salt of %d characters, at most %d are allowed", p.salt, shacrypt.SaltLengthMax)
		}
		return digest, p, nil
	}
	p.salt, p.key = len(digest.Salt()), len(digest.Key())
	if p.salt > maxSalt {
		return nil, params{}, fmt.Errorf("salt of %d bytes, at most %d are allowed", p.salt, maxSalt)
	}
	// A key of one byte would let every 256th password in.
	if p.key < 16 || p.key > maxKey {
		return nil, params{}, fmt.Errorf("hash of %d bytes, 16 to %d are allowed", p.key, maxKey)
	}
	return digest, p, nil
}

// readParams reads the parameters out of an encoded hash, since the library
// keeps them to itself, and checks them.
func readParams(encoded string) (params, error) {
	parts := strings.Split(encoded, "$")
	if len(parts) < 4 || parts[0] != "" {
		return params{}, errFormat
	}
	p := params{scheme: parts[1]}
	switch p.scheme {
	case "argon2id", "argon2i", "argon2d":
		// The library reads the version and the parameters as one list, so that
		// "v=19,m=4294967295" would count as well. Only 19 was ever in use
		// beside 16, which the library does not know.
		if len(parts) != 6 || parts[2] != "v=19" {
			return p, errFormat
		}
		err := readPairs(parts[3], map[string]*uint64{"m": &p.memory, "t": &p.iterations, "p": &p.parallelism})
		if err != nil {
			return p, err
		}
		return p, checkArgon2(p.memory, p.iterations, p.parallelism)
	case "2", "2a", "2b", "2x", "2y", schemeBcryptSHA2:
		rounds := parts[2]
		if p.scheme == schemeBcryptSHA2 {
			// v and t name the version and the kind of bcrypt inside. Version 1
			// feeds bcrypt differently; the library would read it as version 2
			// and find every password wrong.
			var ok bool
			if rounds, ok = strings.CutPrefix(rounds, "v=2,t=2b,r="); !ok {
				return p, fmt.Errorf("%s hash does not begin with v=2,t=2b,r=", p.scheme)
			}
		} else {
			p.scheme = schemeBcrypt
		}
		if err := readNumber("cost", rounds, &p.iterations); err != nil {
			return p, err
		}
		return p, within("bcrypt cost", p.iterations, minBcrypt, maxBcrypt)
	case "scrypt":
		var ln, r uint64
		if err := readPairs(parts[2], map[string]*uint64{"ln": &ln, "r": &r, "p": &p.parallelism}); err != nil {
			return p, err
		}
		if err := errors.Join(within("scrypt ln", ln, 1, 24), within("scrypt r", r, 1, 64),
			within("scrypt p", p.parallelism, 1, maxParallelism)); err != nil {
			return p, err
		}
		p.memory, p.iterations = (r<<ln)/8, 1 // 128·r·2^ln bytes
		return p, errors.Join(within("scrypt memory in KiB", p.memory, 0, maxMemoryKiB),
			within("scrypt memory times p", p.memory*p.parallelism, 0, maxScryptWork))
	case "pbkdf2", "pbkdf2-sha1", "pbkdf2-sha224", "pbkdf2-sha256", "pbkdf2-sha384", "pbkdf2-sha512":
		if err := readNumber("iterations", parts[2], &p.iterations); err != nil {
			return p, err
		}
		return p, within("PBKDF2 iterations", p.iterations, 1, maxPBKDF2)
	case "5", "6":
		p.iterations = shacrypt.IterationsDefaultOmitted
		if len(parts) == 5 {
			if err := readPairs(parts[2], map[string]*uint64{"rounds": &p.iterations}); err != nil {
				return p, err
			}
		}
		return p, within("SHA-crypt rounds", p.iterations, minSHACrypt, maxSHACrypt)
	default:
		// The scheme is not repeated: it may be the first word of a password.
		return p, errFormat
	}
}

// checkArgon2 is the bound of both stored and configured hashes, so that what is
// configured can always be read back.
func checkArgon2(memory, iterations, parallelism uint64) error {
	if err := within("argon2 parallelism", parallelism, 1, maxParallelism); err != nil {
		return err
	}
	if err := within("argon2 memory in KiB", memory, 8*parallelism, maxMemoryKiB); err != nil {
		return err
	}
	return within("argon2 iterations", iterations, 1, maxArgonWork/memory)
}

// readPairs reads "m=1,t=2": every key of want exactly once and nothing else.
// The library has defaults for what is missing and takes the last of two, which
// would be a way around the bounds checked here.
func readPairs(text string, want map[string]*uint64) error {
	seen := map[string]bool{}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		target := want[key]
		if !ok || target == nil || seen[key] {
			return errFormat
		}
		seen[key] = true
		if err := readNumber(key, value, target); err != nil {
			return err
		}
	}
	if len(seen) != len(want) {
		return errFormat
	}
	return nil
}

func readNumber(name, text string, n *uint64) error {
	v, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return fmt.Errorf("%w: %s is not a number", errFormat, name)
	}
	*n = v
	return nil
}

func within(name string, n, lo, hi uint64) error {
	if n < lo || n > hi {
		return fmt.Errorf("%s is %d, allowed are %d to %d", name, n, lo, hi)
	}
	return nil
}
