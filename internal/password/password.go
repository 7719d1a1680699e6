package password

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/argon2"
	"golang.org/x/sync/semaphore"
)

// The bounds of a password. A password longer than MaxLength is refused before
// a single byte of it is hashed: hashing what an anonymous caller sends is the
// attack of CVE-2013-1443, where one megabyte of password cost a minute of
// processor.
const (
	MinLength = 8    // characters, asked for only of new passwords
	MaxLength = 1024 // bytes
)

// The parameters that a zero [Config] stands for.
const (
	DefaultMemoryKiB   = 19456
	DefaultIterations  = 2
	DefaultParallelism = 1
	DefaultMaxWait     = 5 * time.Second
	DefaultMaxQueue    = 1024
)

const (
	saltLength = 16
	keyLength  = 32
)

var (
	// ErrBusy means that too many passwords are being hashed: the caller
	// answers 503 and says when to come again.
	ErrBusy = errors.New("too many passwords are being checked at once")
	// ErrTooLong is a password of more than MaxLength bytes.
	ErrTooLong = fmt.Errorf("password is longer than %d bytes", MaxLength)
	// ErrTooShort is a new password of fewer than MinLength characters.
	ErrTooShort = fmt.Errorf("password is shorter than %d characters", MinLength)
	// ErrInvalid is a password that holds a NUL byte or is not UTF-8. Formats
	// written in C end at the NUL, so that "x\x00anything" would open the
	// account of "x".
	ErrInvalid = errors.New("password is not valid text")
)

// Config says how new hashes are made and how many at once.
type Config struct {
	MemoryKiB, Iterations, Parallelism int // of argon2id; zero means 19456, 2, 1

	// Concurrency is the number of hashes made at once, the memory being that
	// times MemoryKiB. Zero means what leaves one core free, so that a flood of
	// logins never takes the last core from a logout.
	Concurrency int

	MaxWait  time.Duration // in the queue; zero means 5 s
	MaxQueue int           // waiting calls; zero means 1024
}

// A Hasher makes and checks hashes. It is safe for concurrent use.
type Hasher struct {
	cfg     Config
	argon   *argon2.Hasher
	dummy   algorithm.Digest
	slots   *semaphore.Weighted
	waiting atomic.Int64

	// onHash is called at the start of every hash with its slot held. Tests
	// count and delay hashes with it.
	onHash func()
}

// New checks cfg and returns a Hasher.
func New(cfg Config) (*Hasher, error) {
	for _, v := range []struct {
		name string
		n    int64
	}{
		{"memory", int64(cfg.MemoryKiB)},
		{"iterations", int64(cfg.Iterations)},
		{"parallelism", int64(cfg.Parallelism)},
		{"concurrency", int64(cfg.Concurrency)},
		{"longest wait", int64(cfg.MaxWait)},
		{"queue", int64(cfg.MaxQueue)},
	} {
		if v.n < 0 {
			return nil, fmt.Errorf("password hashing: %s must not be negative", v.name)
		}
	}
	cfg.MemoryKiB = orDefault(cfg.MemoryKiB, DefaultMemoryKiB)
	cfg.Iterations = orDefault(cfg.Iterations, DefaultIterations)
	cfg.Parallelism = orDefault(cfg.Parallelism, DefaultParallelism)
	cfg.MaxWait = orDefault(cfg.MaxWait, DefaultMaxWait)
	cfg.MaxQueue = orDefault(cfg.MaxQueue, DefaultMaxQueue)
	if cfg.Concurrency == 0 {
		// One argon2 hash keeps Parallelism cores busy.
		cfg.Concurrency = max(1, (runtime.GOMAXPROCS(0)-1)/cfg.Parallelism)
	}
	if err := checkArgon2(uint64(cfg.MemoryKiB), uint64(cfg.Iterations), uint64(cfg.Parallelism)); err != nil {
		return nil, fmt.Errorf("password hashing: %w", err)
	}
	// argon2 rounds the memory down in this way itself. Rounded here, the
	// parameters written into a hash are those compared with later, and no
	// hash asks for an upgrade at every login for ever.
	cfg.MemoryKiB -= cfg.MemoryKiB % (4 * cfg.Parallelism)

	hasher, err := argon2.New(argon2.WithVariantID(), argon2.WithM(uint32(cfg.MemoryKiB)),
		argon2.WithT(cfg.Iterations), argon2.WithP(cfg.Parallelism),
		argon2.WithS(saltLength), argon2.WithK(keyLength))
	if err != nil {
		return nil, fmt.Errorf("password hashing: %w", err)
	}
	dummy, err := dummyDigest(cfg)
	if err != nil {
		return nil, fmt.Errorf("password hashing: %w", err)
	}
	return &Hasher{
		cfg:   cfg,
		argon: hasher,
		dummy: dummy,
		slots: semaphore.NewWeighted(int64(cfg.Concurrency)),
	}, nil
}

func orDefault[T ~int | ~int64](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// dummyDigest is a hash that no password has: its key is random, not computed.
func dummyDigest(cfg Config) (algorithm.Digest, error) {
	b := make([]byte, saltLength+keyLength)
	rand.Read(b) // never fails
	return argon2.Decode(fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s",
		cfg.MemoryKiB, cfg.Iterations, cfg.Parallelism,
		base64.RawStdEncoding.EncodeToString(b[:saltLength]),
		base64.RawStdEncoding.EncodeToString(b[saltLength:])))
}

// Hash returns the argon2id hash of a new password as a PHC string.
//
// The bytes are hashed as given. There is no Unicode normalization, which would
// have to stay the same for ever and would turn different passwords into one.
func (h *Hasher) Hash(ctx context.Context, pw string) (string, error) {
	if err := check(pw); err != nil {
		return "", err
	}
	if utf8.RuneCountInString(pw) < MinLength {
		return "", ErrTooShort
	}
	if err := h.acquire(ctx); err != nil {
		return "", err
	}
	defer h.slots.Release(1)
	h.started()
	// The library fills in defaults on first use; New has done so already, so
	// that concurrent calls only read.
	digest, err := h.argon.Hash(pw)
	if err != nil {
		return "", fmt.Errorf("hashing a password: %w", err)
	}
	return digest.Encode(), nil
}

// Verify reports whether pw is the password that encoded was made of, and
// whether the stored hash should be replaced by one of the configured form: it
// is of another algorithm or has other parameters. upgrade is only ever true
// together with ok, since only then the caller holds the password. A password
// that is right may still be too short to be hashed anew.
//
// encoded == "" stands for a user that does not exist. Verify then does the
// work of checking a hash with the configured parameters and answers as for a
// wrong password. Otherwise the time of the answer says who has an account
// here (CVE-2016-2513, CVE-2024-39329 and a dozen more since). Accounts that
// were imported with another algorithm do differ in time until they are
// upgraded at the first login.
//
// An encoded hash that cannot be read costs the same work and is an error.
func (h *Hasher) Verify(ctx context.Context, encoded, pw string) (ok, upgrade bool, err error) {
	return h.VerifyIf(ctx, func() error { return nil }, encoded, pw)
}

// VerifyIf is [Hasher.Verify] if allowed returns nil, and otherwise returns what
// it returned. It is asked when the turn to hash has come: of a thousand guesses
// sent at once, a limit that was asked before the queue would let all through.
func (h *Hasher) VerifyIf(ctx context.Context, allowed func() error, encoded, pw string) (ok, upgrade bool, err error) {
	if err := check(pw); err != nil {
		return false, false, err
	}
	digest, p, decodeErr := h.dummy, params{}, error(nil)
	if encoded != "" {
		if digest, p, decodeErr = decode(encoded); decodeErr != nil {
			digest = h.dummy
		}
	}
	if err := h.acquire(ctx); err != nil {
		return false, false, err
	}
	defer h.slots.Release(1)
	if err := allowed(); err != nil {
		return false, false, err
	}
	h.started()
	match, err := digest.MatchAdvanced(pw)
	switch {
	case decodeErr != nil:
		return false, false, decodeErr
	case err != nil:
		return false, false, fmt.Errorf("checking a password: %w", err)
	case encoded == "" || !match:
		return false, false, nil
	case p.scheme == schemeBcrypt && len(pw) > bcryptMax:
		// bcrypt reads 72 bytes and ignores the rest, so that everything with
		// the right beginning would be right (CVE-2025-22228). The work is
		// done nevertheless, for the time of the answer.
		return false, false, nil
	}
	return true, !h.current(p), nil
}

// ValidEncoded returns an error unless encoded is a hash that Verify can check
// at a bearable cost. It is meant for imports.
func ValidEncoded(encoded string) error {
	_, _, err := decode(encoded)
	return err
}

// check refuses passwords that must not reach any hash function.
func check(pw string) error {
	if len(pw) > MaxLength {
		return ErrTooLong
	}
	if strings.IndexByte(pw, 0) >= 0 || !utf8.ValidString(pw) {
		return ErrInvalid
	}
	return nil
}

// acquire waits for the right to hash. The queue is bounded in length and in
// time: waiting calls hold memory and connections, and an answer that comes
// after the client has given up was work for nobody.
func (h *Hasher) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if h.slots.TryAcquire(1) {
		return nil
	}
	if h.waiting.Add(1) > int64(h.cfg.MaxQueue) {
		h.waiting.Add(-1)
		return ErrBusy
	}
	defer h.waiting.Add(-1)
	wait, cancel := context.WithTimeout(ctx, h.cfg.MaxWait)
	defer cancel()
	if h.slots.Acquire(wait, 1) == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err // the caller gave up, we did not
	}
	return ErrBusy
}

func (h *Hasher) started() {
	if h.onHash != nil {
		h.onHash()
	}
}

// current reports whether p is what Hash would make today. A hash that is
// stronger than configured is replaced too: as long as it differs, the time of
// a wrong password differs from that of an unknown user.
func (h *Hasher) current(p params) bool {
	return p == params{
		scheme:      schemeArgon2id,
		memory:      uint64(h.cfg.MemoryKiB),
		iterations:  uint64(h.cfg.Iterations),
		parallelism: uint64(h.cfg.Parallelism),
		salt:        saltLength,
		key:         keyLength,
	}
}
