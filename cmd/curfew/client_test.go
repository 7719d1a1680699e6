package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// against runs a command against a server that answers as h does.
func against(t *testing.T, h http.HandlerFunc, args ...string) (code int, out, errOut string) {
	t.Helper()
	s := httptest.NewServer(h)
	defer s.Close()
	t.Setenv("CURFEW_OPERATOR_KEY", "cro_TEST")
	t.Setenv("CURFEW_AUTHORITY", s.URL)
	var o, e bytes.Buffer
	code = run(args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

func TestAnswersOfOthers(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		code   int
		stderr string
	}{
		{"a web site", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<h1>no</h1>", http.StatusNotFound) },
			exitNotFound, "not how an authority answers; check --authority"},
		{"a web site that likes everything", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<h1>hi</h1>") },
			exitFailure, "answers something else than an authority"},
		{"a redirect, which would be given the key", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/stolen" {
				t.Error("the redirect was followed")
			}
			http.Redirect(w, r, "/stolen", http.StatusTemporaryRedirect)
		}, exitFailure, "not how an authority answers"},
		{"a proxy without authority", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
			exitUnavailable, "502"},
		{"an authority without store", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, `{"code":503,"error_code":"store_unavailable","msg":"The store cannot serve now; nothing was changed"}`)
		}, exitUnavailable, "curfew: The store cannot serve now; nothing was changed\n"},
		{"an escape sequence", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"code":400,"error_code":"invalid_request","msg":"\u001b[2J\u0007hello"}`)
		}, exitFailure, "curfew: ?[2J?hello\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, stderr := against(t, c.answer, "users", "list")
			if code != c.code || !strings.Contains(stderr, c.stderr) || strings.Contains(stderr, "cro_TEST") {
				t.Errorf("exit code %d, want %d; stderr %q, want %q in it", code, c.code, stderr, c.stderr)
			}
		})
	}
}

// TestBackupCutOff: half a backup under the name of a backup is worse than none.
func TestBackupCutOff(t *testing.T) {
	dir := t.TempDir()
	code, _, stderr := against(t, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, strings.Repeat("x", 100_000))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}, "backup", filepath.Join(dir, "backup.db"))
	if code == exitOK || !strings.Contains(stderr, "the backup was cut off") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestTablesAreCleaned: what users choose must not reach the terminal as
// control characters.
func TestTablesAreCleaned(t *testing.T) {
	_, out, _ := against(t, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"sessions":[{"id":"1","device":"evil\u001b]0;title\u0007\nroot"}]}`)
	}, "sessions", "list")
	if strings.ContainsAny(out, "\x1b\x07") || strings.Count(out, "\n") != 2 {
		t.Errorf("got %q", out)
	}
}
