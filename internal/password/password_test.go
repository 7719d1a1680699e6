package password

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/argon2"
	"github.com/go-crypt/crypt/algorithm/bcrypt"
	"github.com/go-crypt/crypt/algorithm/pbkdf2"
	"github.com/go-crypt/crypt/algorithm/scrypt"
	"github.com/go-crypt/crypt/algorithm/shacrypt"
)

// cheap is as little work as argon2 can be.
var cheap = Config{MemoryKiB: 8, Iterations: 1, Parallelism: 1}

func newHasher(t testing.TB, cfg Config) *Hasher {
	t.Helper()
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHashAndVerify(t *testing.T) {
	h := newHasher(t, Config{})
	encoded, err := h.Hash(t.Context(), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if want := "$argon2id$v=19$m=19456,t=2,p=1$"; !strings.HasPrefix(encoded, want) {
		t.Errorf("hash is %q, want it to begin with %s", encoded, want)
	}
	if err := ValidEncoded(encoded); err != nil {
		t.Errorf("own hash is refused: %v", err)
	}
	for pw, want := range map[string]bool{"correct horse": true, "correct horsf": false, "": false, "Correct horse": false, "correct horse ": false} {
		ok, upgrade, err := h.Verify(t.Context(), encoded, pw)
		if err != nil || ok != want || upgrade {
			t.Errorf("Verify(%q) = %v, %v, %v; want %v, false, nil", pw, ok, upgrade, err, want)
		}
	}
	again, err := h.Hash(t.Context(), "correct horse")
	if err != nil || again == encoded {
		t.Errorf("second hash of a password is the same as the first (%v)", err)
	}
}

// No normalization: the composed and the decomposed form are two passwords.
func TestBytesAsGiven(t *testing.T) {
	h := newHasher(t, cheap)
	encoded, err := h.Hash(t.Context(), "p\u00e4ssword")
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, _ := h.Verify(t.Context(), encoded, "pa\u0308ssword"); ok {
		t.Error("another sequence of bytes was accepted")
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestForeignHashes(t *testing.T) {
	const pw = "Hello world!"
	hasher := map[string]algorithm.Hash{
		"argon2i":       must(argon2.New(argon2.WithVariantI(), argon2.WithM(64), argon2.WithT(2), argon2.WithP(2)))(t),
		"argon2d":       must(argon2.New(argon2.WithVariantD(), argon2.WithM(64), argon2.WithT(1), argon2.WithP(1)))(t),
		"argon2id":      must(argon2.New(argon2.WithVariantID(), argon2.WithM(64), argon2.WithT(1), argon2.WithP(1)))(t),
		"bcrypt":        must(bcrypt.New(bcrypt.WithIterations(10)))(t),
		"bcrypt-sha256": must(bcrypt.New(bcrypt.WithVariant(bcrypt.VariantSHA256), bcrypt.WithIterations(10)))(t),
		"scrypt":        must(scrypt.New(scrypt.WithLN(4), scrypt.WithR(8), scrypt.WithP(1)))(t),
		"pbkdf2-sha256": must(pbkdf2.New(pbkdf2.WithVariant(pbkdf2.VariantSHA256), pbkdf2.WithIterations(100000)))(t),
		"sha256crypt":   must(shacrypt.New(shacrypt.WithSHA256(), shacrypt.WithIterations(1000)))(t),
		"sha512crypt":   must(shacrypt.New(shacrypt.WithSHA512(), shacrypt.WithIterations(5000)))(t),
	}
	encoded := map[string]string{
		// Made with OpenSSL, Python's hashlib and the crypt of glibc: not only
		// what the library writes but what others do.
		"sha256crypt of OpenSSL":   "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
		"sha512crypt of OpenSSL":   "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
		"in LDAP":                  "{CRYPT}$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
		"scrypt of Python":         "$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$Vxf4B7a73E5PRuVgVwr/8/55pIZny7KIgoCtZXsSAbI",
		"PBKDF2 of Python":         "$pbkdf2-sha256$1000$AAECAwQFBgcICQoLDA0ODw$.uTAqH0xcEwvYzg0Uqtb5.Z9YfdYDxmygFLWtavwV18",
		"PBKDF2 of Python, sha1":   "$pbkdf2-sha1$1000$AAECAwQFBgcICQoLDA0ODw$PQ2AeqNeMc7aupuoNJms8uanzGE",
		"PBKDF2 of Python, sha512": "$pbkdf2-sha512$1000$AAECAwQFBgcICQoLDA0ODw$twUObxyd7Bv..TQ/FYzsiTupsfbsFzq/egNp4xrJMrEFEOD16o5wHWLu21y3zP3ecGTGoqe5B8kX2YDwbalK8g",
		"bcrypt of glibc":          "$2b$04$CCCCCCCCCCCCCCCCCCCCC.M.JZM2tZUe85sR83hfk5p2NZ0IVXwXe",
	}
	for name, h := range hasher {
		encoded[name] = must(h.Hash(pw))(t).Encode()
	}
	h := newHasher(t, cheap)
	for name, enc := range encoded {
		t.Run(name, func(t *testing.T) {
			if err := ValidEncoded(enc); err != nil {
				t.Fatalf("ValidEncoded(%q): %v", enc, err)
			}
			if ok, upgrade, err := h.Verify(t.Context(), enc, pw); !ok || !upgrade || err != nil {
				t.Errorf("right password: %v, upgrade %v, %v; want true, true", ok, upgrade, err)
			}
			if ok, upgrade, err := h.Verify(t.Context(), enc, "Hello world?"); ok || upgrade || err != nil {
				t.Errorf("wrong password: %v, upgrade %v, %v; want false, false", ok, upgrade, err)
			}
		})
	}
}

// The test of the reference implementation of argon2.
func TestArgon2Reference(t *testing.T) {
	const encoded = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if ok, _, err := newHasher(t, cheap).Verify(t.Context(), encoded, "password"); !ok || err != nil {
		t.Errorf("%v, %v; want true", ok, err)
	}
}

func TestUpgrade(t *testing.T) {
	const pw = "correct horse"
	base := Config{MemoryKiB: 64, Iterations: 2, Parallelism: 1}
	encoded := must(newHasher(t, base).Hash(t.Context(), pw))(t)
	for _, tt := range []struct {
		name string
		cfg  Config
		want bool
	}{
		{"same", base, false},
		{"more memory now", Config{MemoryKiB: 128, Iterations: 2, Parallelism: 1}, true},
		{"more passes now", Config{MemoryKiB: 64, Iterations: 3, Parallelism: 1}, true},
		{"other lanes now", Config{MemoryKiB: 64, Iterations: 2, Parallelism: 2}, true},
		{"less memory now", Config{MemoryKiB: 32, Iterations: 2, Parallelism: 1}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHasher(t, tt.cfg)
			ok, upgrade, err := h.Verify(t.Context(), encoded, pw)
			if !ok || upgrade != tt.want || err != nil {
				t.Errorf("ok %v, upgrade %v, %v; want upgrade %v", ok, upgrade, err, tt.want)
			}
			fresh := must(h.Hash(t.Context(), pw))(t)
			if _, upgrade, _ := h.Verify(t.Context(), fresh, pw); upgrade {
				t.Error("a hash just made asks for an upgrade")
			}
		})
	}
	// argon2 rounds memory down to a multiple of 4 per lane.
	odd := newHasher(t, Config{MemoryKiB: 67, Iterations: 1, Parallelism: 2})
	fresh := must(odd.Hash(t.Context(), pw))(t)
	if _, upgrade, _ := odd.Verify(t.Context(), fresh, pw); upgrade {
		t.Errorf("%s asks for an upgrade for ever", fresh)
	}
	// Right parameters, short salt.
	short := must(must(argon2.New(argon2.WithVariantID(), argon2.WithM(64), argon2.WithT(2), argon2.WithP(1), argon2.WithS(8)))(t).Hash(pw))(t)
	if ok, upgrade, _ := newHasher(t, base).Verify(t.Context(), short.Encode(), pw); !ok || !upgrade {
		t.Error("a hash with a salt of 8 bytes asks for no upgrade")
	}
}

// bcrypt ignores everything after 72 bytes: whoever knows those must not be let
// in with any ending (CVE-2025-22228).
func TestBcryptPrefixAttack(t *testing.T) {
	prefix := strings.Repeat("a", 72)
	encoded := must(must(bcrypt.New(bcrypt.WithIterations(10)))(t).Hash(prefix))(t).Encode()
	h := newHasher(t, cheap)
	var hashes atomic.Int64
	h.onHash = func() { hashes.Add(1) }
	if ok, _, err := h.Verify(t.Context(), encoded, prefix); !ok || err != nil {
		t.Errorf("72 bytes: %v, %v; want true", ok, err)
	}
	if ok, _, err := h.Verify(t.Context(), encoded, prefix+"anything"); ok || err != nil {
		t.Errorf("72 right bytes and more: %v, %v; want false", ok, err)
	}
	if n := hashes.Load(); n != 2 {
		t.Errorf("%d hashes, want 2: the refusal must cost as much as any other", n)
	}
}

func TestRefusedBeforeHashing(t *testing.T) {
	h := newHasher(t, cheap)
	var hashes atomic.Int64
	h.onHash = func() { hashes.Add(1) }
	encoded := must(h.Hash(t.Context(), strings.Repeat("x", MaxLength)))(t)
	hashes.Store(0)
	for _, tt := range []struct {
		name, pw string
		want     error
	}{
		{"1025 bytes", strings.Repeat("x", 1025), ErrTooLong},
		{"a megabyte", strings.Repeat("x", 1<<20), ErrTooLong},
		{"1025 bytes in fewer characters", strings.Repeat("ä", 513), ErrTooLong},
		{"NUL at the end", "password\x00", ErrInvalid},
		{"NUL within", "pass\x00word", ErrInvalid},
		{"invalid UTF-8", "password\xff", ErrInvalid},
		{"half a surrogate", "password\xed\xa0\x80", ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := h.Hash(t.Context(), tt.pw); !errors.Is(err, tt.want) {
				t.Errorf("Hash: %v, want %v", err, tt.want)
			}
			// Neither with a user nor without: the same refusal for both.
			for _, enc := range []string{encoded, ""} {
				if ok, _, err := h.Verify(t.Context(), enc, tt.pw); ok || !errors.Is(err, tt.want) {
					t.Errorf("Verify: %v, %v; want %v", ok, err, tt.want)
				}
			}
		})
	}
	for _, pw := range []string{"", "1234567", "äöüäöüä"} {
		if _, err := h.Hash(t.Context(), pw); !errors.Is(err, ErrTooShort) {
			t.Errorf("Hash(%q): %v, want ErrTooShort", pw, err)
		}
	}
	if n := hashes.Load(); n != 0 {
		t.Errorf("%d refused passwords were hashed", n)
	}
	if _, err := h.Hash(t.Context(), "äöüäöüäö"); err != nil {
		t.Errorf("8 characters: %v", err)
	}
}

// Enumeration of users by the time of the answer: unknown, wrong and unreadable
// all cost exactly one hash with the configured parameters.
func TestUnknownUserCostsTheSame(t *testing.T) {
	h := newHasher(t, Config{MemoryKiB: 64, Iterations: 2, Parallelism: 1})
	encoded := must(h.Hash(t.Context(), "correct horse"))(t)
	if got, want := h.dummy.Encode()[:28], encoded[:28]; got != want {
		t.Errorf("dummy hash begins with %s, real ones with %s", got, want)
	}
	if len(h.dummy.Key()) != keyLength || len(h.dummy.Salt()) != saltLength {
		t.Error("dummy hash has other lengths than real ones")
	}
	for name, enc := range map[string]string{"unknown user": "", "wrong password": encoded, "unreadable hash": "$nonsense$"} {
		var hashes atomic.Int64
		h.onHash = func() { hashes.Add(1) }
		ok, upgrade, err := h.Verify(t.Context(), enc, "wrong horse")
		if ok || upgrade || (err != nil) != (name == "unreadable hash") {
			t.Errorf("%s: %v, %v, %v", name, ok, upgrade, err)
		}
		if n := hashes.Load(); n != 1 {
			t.Errorf("%s: %d hashes, want 1", name, n)
		}
	}
}

func TestValidEncodedRefuses(t *testing.T) {
	b64 := func(n int) string { return strings.Repeat("A", (n*8+5)/6) }
	argon := "$argon2id$v=19$%s$" + b64(16) + "$" + b64(32)
	for name, enc := range map[string]string{
		"empty":                           "",
		"a password in the wrong column":  "hunter2-is-my-password",
		"plain text of go-crypt":          "$plaintext$hunter2",
		"plain text, base64":              "$base64$aHVudGVyMg",
		"md5crypt":                        "$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/",
		"sha1crypt":                       "$sha1$480000$salt$AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"argon2 with 4 TiB":               fmt.Sprintf(argon, "m=4294967295,t=1,p=1"),
		"argon2 with 257 MiB":             fmt.Sprintf(argon, "m=262145,t=1,p=1"),
		"argon2 for hours":                fmt.Sprintf(argon, "m=8,t=4294967295,p=1"),
		"argon2 with much of both":        fmt.Sprintf(argon, "m=262144,t=5,p=1"),
		"argon2 with 16 million lanes":    fmt.Sprintf(argon, "m=65536,t=1,p=16777215"),
		"argon2 without lanes":            fmt.Sprintf(argon, "m=64,t=1,p=0"),
		"argon2 without memory":           fmt.Sprintf(argon, "m=0,t=1,p=1"),
		"argon2 with defaults":            fmt.Sprintf(argon, "m=64,t=1"),
		"argon2 with memory twice":        fmt.Sprintf(argon, "m=64,t=1,p=1,m=4294967295"),
		"argon2 with unknown parameter":   fmt.Sprintf(argon, "m=64,t=1,p=1,keyid=1"),
		"argon2 smuggled by version":      strings.Replace(fmt.Sprintf(argon, "m=64,t=1,p=1"), "v=19", "v=19,m=4294967295", 1),
		"argon2 of version 16":            strings.Replace(fmt.Sprintf(argon, "m=64,t=1,p=1"), "v=19", "v=16", 1),
		"argon2 with an empty key":        "$argon2id$v=19$m=64,t=1,p=1$" + b64(16) + "$",
		"argon2 with a key of one byte":   "$argon2id$v=19$m=64,t=1,p=1$" + b64(16) + "$AA",
		"argon2 with a very long key":     "$argon2id$v=19$m=64,t=1,p=1$" + b64(16) + "$" + b64(96),
		"anything very long":              "$argon2id$v=19$m=64,t=1,p=1$" + b64(16) + "$" + b64(1<<20),
		"bcrypt at cost 31":               "$2b$31$" + strings.Repeat("a", 53),
		"bcrypt at cost 0":                "$2b$00$" + strings.Repeat("a", 53),
		"bcrypt at cost -1":               "$2b$-1$" + strings.Repeat("a", 53),
		"bcrypt cut off":                  "$2b$10$" + strings.Repeat("a", 52),
		"bcrypt-sha256 version 1":         "$bcrypt-sha256$2a,12$LrmaIX5x4TRtAwEfwJZa1.$2ehnw6LvuIUTM0iz4iz9hTxv21B6KFO",
		"bcrypt-sha256 with rounds twice": "$bcrypt-sha256$v=2,t=2b,r=10,r=31$LrmaIX5x4TRtAwEfwJZa1.$2ehnw6LvuIUTM0iz4iz9hTxv21B6KFO",
		"scrypt with a petabyte":          "$scrypt$ln=40,r=8,p=1$" + b64(16) + "$" + b64(32),
		"scrypt with ln 63":               "$scrypt$ln=63,r=8,p=1$" + b64(16) + "$" + b64(32),
		"scrypt with many lanes":          "$scrypt$ln=16,r=8,p=64$" + b64(16) + "$" + b64(32),
		"scrypt with r 0":                 "$scrypt$ln=4,r=0,p=1$" + b64(16) + "$" + b64(32),
		"scrypt with defaults":            "$scrypt$ln=4$" + b64(16) + "$" + b64(32),
		"yescrypt":                        "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
		"pbkdf2 for minutes":              "$pbkdf2-sha256$2147483647$" + b64(16) + "$" + b64(32),
		"pbkdf2 with 0 iterations":        "$pbkdf2-sha256$0$" + b64(16) + "$" + b64(32),
		"pbkdf2 with iterations below 0":  "$pbkdf2-sha256$-5$" + b64(16) + "$" + b64(32),
		"SHA-crypt for hours":             "$6$rounds=999999999$saltstring$" + strings.Repeat("a", 86),
		"SHA-crypt with one round":        "$6$rounds=1$saltstring$" + strings.Repeat("a", 86),
		"SHA-crypt cut off":               "$6$saltstring$a",
		"SHA-crypt with a huge salt":      "$6$" + strings.Repeat("s", 17) + "$" + strings.Repeat("a", 86),
	} {
		t.Run(name, func(t *testing.T) {
			err := ValidEncoded(enc)
			if err == nil {
				t.Fatalf("%.60q is accepted", enc)
			}
			// It may be a password that somebody put into the wrong column.
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error repeats what was given: %v", err)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, cfg := range []Config{
		{MemoryKiB: -1}, {Iterations: -1}, {Parallelism: -1}, {Concurrency: -1}, {MaxWait: -1}, {MaxQueue: -1},
		{MemoryKiB: 7}, {MemoryKiB: 1 << 20}, {Parallelism: 65}, {Iterations: 1 << 20},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("New(%+v) is accepted", cfg)
		}
	}
}

func TestConcurrencyLeavesACore(t *testing.T) {
	h := newHasher(t, cheap)
	if got, want := h.cfg.Concurrency, max(1, runtime.GOMAXPROCS(0)-1); got != want {
		t.Errorf("concurrency is %d, want %d", got, want)
	}
}

// Memory is bounded by the number of hashes made at once.
func TestNeverMoreThanConcurrency(t *testing.T) {
	const concurrency = 3
	cfg := cheap
	cfg.Concurrency = concurrency
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, cfg)
		encoded := must(h.Hash(t.Context(), "correct horse"))(t)
		var running, most atomic.Int64
		h.onHash = func() {
			n := running.Add(1)
			for {
				m := most.Load()
				if n <= m || most.CompareAndSwap(m, n) {
					break
				}
			}
			time.Sleep(time.Millisecond)
			running.Add(-1)
		}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				var err error
				switch i % 3 {
				case 0:
					_, err = h.Hash(t.Context(), "correct horse")
				case 1:
					_, _, err = h.Verify(t.Context(), encoded, "correct horse")
				default:
					_, _, err = h.Verify(t.Context(), "", "correct horse")
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if most.Load() != concurrency {
			t.Errorf("%d hashes at once, want %d", most.Load(), concurrency)
		}
	})
}

func TestBusy(t *testing.T) {
	cfg := cheap
	cfg.Concurrency, cfg.MaxQueue, cfg.MaxWait = 1, 2, 3*time.Second
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, cfg)
		release := make(chan struct{})
		h.onHash = func() { <-release }
		results := make(chan error, 3)
		verify := func() {
			_, _, err := h.Verify(t.Context(), "", "correct horse")
			results <- err
		}
		go verify()
		synctest.Wait()
		go verify()
		go verify()
		synctest.Wait()

		start := time.Now()
		if _, _, err := h.Verify(t.Context(), "", "correct horse"); !errors.Is(err, ErrBusy) {
			t.Errorf("full queue: %v, want ErrBusy", err)
		}
		if time.Since(start) != 0 {
			t.Error("full queue was not refused at once")
		}
		for range 2 {
			if err := <-results; !errors.Is(err, ErrBusy) {
				t.Errorf("after the longest wait: %v, want ErrBusy", err)
			}
		}
		if waited := time.Since(start); waited != 3*time.Second {
			t.Errorf("waited %v, want 3s", waited)
		}
		close(release)
		if err := <-results; err != nil {
			t.Errorf("the call that had the slot: %v", err)
		}
		// Nothing leaks: slot and queue are free again.
		if _, _, err := h.Verify(t.Context(), "", "correct horse"); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		if n := h.waiting.Load(); n != 0 {
			t.Errorf("%d calls still count as waiting", n)
		}
	})
}

func TestCancelled(t *testing.T) {
	cfg := cheap
	cfg.Concurrency = 1
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, cfg)
		release := make(chan struct{})
		var hashes atomic.Int64
		h.onHash = func() { hashes.Add(1); <-release }
		done := make(chan error)
		go func() { _, err := h.Hash(t.Context(), "correct horse"); done <- err }()
		synctest.Wait()

		ctx, cancel := context.WithCancel(t.Context())
		waiting := make(chan error)
		go func() { _, _, err := h.Verify(ctx, "", "correct horse"); waiting <- err }()
		synctest.Wait()
		cancel()
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled in the queue: %v", err)
		}
		late, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := h.Verify(late, "", "correct horse"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("deadline of the caller in the queue: %v", err)
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := h.Hash(ctx, "correct horse"); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled before: %v", err)
		}
		if n := hashes.Load(); n != 1 {
			t.Errorf("%d hashes, want 1: nobody waits for the others", n)
		}
	})
}

func FuzzValidEncoded(f *testing.F) {
	for _, s := range []string{
		"", "$", "$$$$$$", "{CRYPT}$5$a$b", "{PBKDF2-SHA256}1$a$b",
		"$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$scrypt$ln=4,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$pbkdf2-sha256$1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$2b$04$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc8",
		"$bcrypt-sha256$v=2,t=2b,r=10$LrmaIX5x4TRtAwEfwJZa1.$2ehnw6LvuIUTM0iz4iz9hTxv21B6KFO",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, encoded string) {
		digest, p, err := decode(encoded)
		if err != nil {
			return
		}
		if p.memory > maxMemoryKiB || p.parallelism > maxParallelism {
			t.Fatalf("%q is accepted with %+v", encoded, p)
		}
		// What is accepted can be checked, whatever it is.
		if p.memory*max(p.parallelism, 1) <= 1024 && p.iterations <= 4 {
			if digest.Match("a password nobody has"); len(digest.Key()) < 16 {
				t.Fatalf("%q is accepted with a key of %d bytes", encoded, len(digest.Key()))
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	h := newHasher(b, Config{})
	encoded := must(h.Hash(b.Context(), "correct horse"))(b)
	for b.Loop() {
		h.Verify(b.Context(), encoded, "wrong horse")
	}
}
