package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestSealAndOpen(t *testing.T) {
	key, row := New(), []byte("signing_key/1")
	for _, plain := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("secret"), 1000)} {
		sealed, err := key.Seal(plain, row)
		if err != nil {
			t.Fatal(err)
		}
		if len(plain) > 1 && bytes.Contains(sealed, plain) {
			t.Error("the plain text is in the sealed value")
		}
		got, err := key.Open(sealed, row)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("Open: %q, %v", got, err)
		}
		again, err := key.Seal(plain, row)
		if err != nil || bytes.Equal(again, sealed) {
			t.Errorf("the same value sealed twice looks the same (%v)", err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	key, row := New(), []byte("signing_key/1")
	sealed, err := key.Seal([]byte("secret"), row)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		key     Key
		sealed  []byte
		context string
		want    error
	}{
		{"another key", New(), sealed, "signing_key/1", ErrWrongKey},
		{"moved into another row", key, sealed, "signing_key/2", ErrWrongKey},
		{"no context", key, sealed, "", ErrWrongKey},
		{"cut off", key, sealed[:len(sealed)-1], "signing_key/1", ErrWrongKey},
		{"too short", key, sealed[:overhead-1], "signing_key/1", ErrMalformed},
		{"empty", key, nil, "signing_key/1", ErrMalformed},
		{"never sealed", key, []byte("-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG"), "signing_key/1", ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := tt.key.Open(tt.sealed, []byte(tt.context)); got != nil || !errors.Is(err, tt.want) {
				t.Errorf("Open: %q, %v; want %v", got, err, tt.want)
			}
		})
	}
	for i := range sealed {
		altered := bytes.Clone(sealed)
		altered[i] ^= 1
		if got, err := key.Open(altered, row); err == nil {
			t.Errorf("opens with byte %d altered: %q", i, got)
		}
	}
}

// The format is for ever: what was sealed by an older version must open.
func TestFormatIsStable(t *testing.T) {
	key, err := Parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	if err != nil {
		t.Fatal(err)
	}
	const sealed = "AcGIYkDkkPJgNpOFqMZZ8+lFF/mpVpCXgo+IYzViTx0qt2U="
	b, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := key.Open(b, []byte("signing_key/1")); err != nil || string(got) != "secret" {
		t.Errorf("Open: %q, %v", got, err)
	}
	if got, want := base64.StdEncoding.EncodeToString(key.Derive("test")), "nGBhMLhqxIrVUXKQgI3hFS3CYHu4ojn05Uuwau+AXoE="; got != want {
		t.Errorf("Derive: %s, want %s", got, want)
	}
}

func TestDerive(t *testing.T) {
	key := New()
	a, b := key.Derive("csrf"), key.Derive("cookies")
	if len(a) != 32 || bytes.Equal(a, b) || !bytes.Equal(a, key.Derive("csrf")) || bytes.Equal(a, New().Derive("csrf")) {
		t.Error("secrets are not one per key and purpose")
	}
	// No purpose reaches the key that seals.
	if bytes.Equal(key.Derive(sealing), key.derive(sealing)) {
		t.Error("a caller can derive the sealing key")
	}
}

func TestZeroKey(t *testing.T) {
	var key Key
	if _, err := key.Seal([]byte("x"), nil); err == nil {
		t.Error("the zero key seals")
	}
	if _, err := key.Open(make([]byte, 100), nil); err == nil {
		t.Error("the zero key opens")
	}
	if !key.IsZero() || New().IsZero() {
		t.Error("IsZero is wrong")
	}
	defer func() {
		if recover() == nil {
			t.Error("the zero key derives secrets that everybody knows")
		}
	}()
	key.Derive("x")
}

func TestNeverPrintsItself(t *testing.T) {
	key, err := Parse(base64.StdEncoding.EncodeToString([]byte("this is the master key, 32 bytes")))
	if err != nil {
		t.Fatal(err)
	}
	holder := struct {
		Name string
		key  Key
		Key  Key
	}{"authority", key, key}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%o", "%c", "%U", "%t"} {
		fmt.Fprintf(&out, verb+"\n", key)
		fmt.Fprintf(&out, verb+"\n", &key)
		fmt.Fprintf(&out, verb+"\n", holder)
		fmt.Fprintf(&out, verb+"\n", []Key{key})
		fmt.Fprintf(&out, verb+"\n", map[string]Key{"k": key})
	}
	fmt.Fprintln(&out, fmt.Errorf("failed with %v", key))
	slog.New(slog.NewTextHandler(&out, nil)).Info("text", "key", key, "holder", holder)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "key", key, "holder", holder)
	if err := json.NewEncoder(&out).Encode(holder); err != nil {
		t.Fatal(err)
	}
	printed := strings.ToLower(out.String())
	for _, secret := range []string{
		"this is", "master", "746869", "116 104 105", "dghpcyb", "1110100", "164 150", "u+0074", "0x74", "true true",
	} {
		if strings.Contains(printed, secret) {
			t.Errorf("the key is printed: found %q in\n%s", secret, printed)
		}
	}
}

func TestParse(t *testing.T) {
	good := base64.StdEncoding.EncodeToString([]byte("this is the master key, 32 bytes"))
	for _, text := range []string{good, good + "\n", good + "\r\n"} {
		if _, err := Parse(text); err != nil {
			t.Errorf("Parse(%q): %v", text, err)
		}
	}
	for name, text := range map[string]string{
		"empty":             "",
		"newline":           "\n",
		"too short":         base64.StdEncoding.EncodeToString(make([]byte, 31)),
		"too long":          base64.StdEncoding.EncodeToString(make([]byte, 33)),
		"zeros":             base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"not base64":        "hunter2",
		"hex":               strings.Repeat("ab", 32),
		"line break within": good[:10] + "\n" + good[10:],
		"two keys":          good + "\n" + good,
		"space in front":    " " + good,
		"loose last bits":   strings.TrimSuffix(good, "M=") + "N=",
	} {
		_, err := Parse(text)
		if err == nil {
			t.Errorf("%s: %q is accepted", name, text)
		} else if len(text) > 4 && strings.Contains(err.Error(), text) {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
}

func TestLoadOrCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of nothing: %v, want fs.ErrNotExist", err)
	}
	first, err := LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode is %v, want -rw-------", info.Mode())
	}
	content, err := os.ReadFile(path)
	if err != nil || len(content) != 45 || content[44] != '\n' {
		t.Errorf("content is %q, %v", content, err)
	}
	second, err := LoadOrCreate(path)
	if err != nil || *second.reveal() != *first.reveal() {
		t.Errorf("the second start has another key (%v)", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Several processes that start at once must agree on one key.
func TestLoadOrCreateRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	keys := make([]Key, 20)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = LoadOrCreate(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, key := range keys {
		if key.IsZero() || *key.reveal() != *keys[0].reveal() {
			t.Fatal("two processes have different keys")
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	good := New().encode()
	for _, tt := range []struct {
		name    string
		content []byte
		mode    fs.FileMode
		want    string
	}{
		{"readable by all", good, 0o644, "chmod 600"},
		{"readable by the group", good, 0o640, "chmod 600"},
		{"writable by all", good, 0o602, "chmod 600"},
		{"empty", nil, 0o600, "0 bytes"},
		{"cut off by a crash", good[:20], 0o600, "bytes instead of 32"},
		{"something else", []byte("hello"), 0o600, "not base64"},
		{"a database", make([]byte, 1<<20), 0o600, "larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "master.key")
			if err := os.WriteFile(path, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			for name, load := range map[string]func(string) (Key, error){"Load": Load, "LoadOrCreate": LoadOrCreate} {
				_, err := load(path)
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
					t.Errorf("%s: %v; want %q and the path", name, err, tt.want)
				}
			}
			// A file that cannot be used is somebody's key all the same.
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, tt.content) {
				t.Error("the file was replaced")
			}
		})
	}
	if _, err := LoadOrCreate(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("directory: %v", err)
	}
	if _, err := LoadOrCreate(filepath.Join(t.TempDir(), "missing", "master.key")); err == nil {
		t.Error("no directory: no error")
	}
}

func FuzzOpen(f *testing.F) {
	key := New()
	sealed, _ := key.Seal([]byte("secret"), []byte("row"))
	f.Add(sealed, []byte("row"))
	f.Add([]byte{version}, []byte(nil))
	f.Fuzz(func(t *testing.T, b, context []byte) {
		got, err := key.Open(b, context)
		if err == nil && (!bytes.Equal(b, sealed) || string(context) != "row") {
			t.Fatalf("forged: %x opens as %q", b, got)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(string(New().encode()))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := Parse(text)
		if err == nil && strings.TrimRight(string(key.encode()), "\n") != strings.TrimRight(text, "\r\n") {
			t.Fatalf("%q is a second spelling of a key", text)
		}
	})
}
