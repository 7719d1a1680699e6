package server

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/limit"
	"github.com/google/go-cmp/cmp"
)

// row is a line of the table of errors in docs/api.md.
type row struct {
	Status int
	OAuth  string
}

func documentedErrors(t *testing.T) map[string]row {
	t.Helper()
	out := map[string]row{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (\\d{3}) \\| .* \\| (?:`([a-z_]+)`)? ?\\|$").FindAllStringSubmatch(read(t, "../../docs/api.md"), -1) {
		status, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := out[m[1]]; twice {
			t.Errorf("%s is in the table twice", m[1])
		}
		out[m[1]] = row{status, m[3]}
	}
	return out
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The table has every code that is in the source, and no other.
func TestEveryErrorCodeIsDocumented(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	inSource := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, m := range regexp.MustCompile(`(?:Code:\s+|unavailable\()"([a-z_]+)"`).FindAllStringSubmatch(read(t, name), -1) {
			inSource[m[1]] = true
		}
	}
	table := documentedErrors(t)
	want := slices.Sorted(maps.Keys(inSource))
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(table))); diff != "" {
		t.Errorf("source (-) and docs/api.md (+):\n%s", diff)
	}
	_, enum, _ := strings.Cut(read(t, "../../docs/openapi.yaml"), "    ErrorCode:\n      enum:\n")
	var described []string
	for line := range strings.Lines(enum) {
		code, ok := strings.CutPrefix(strings.TrimSpace(line), "- ")
		if !ok {
			break
		}
		described = append(described, code)
	}
	if diff := cmp.Diff(want, described); diff != "" {
		t.Errorf("source (-) and docs/openapi.yaml (+):\n%s", diff)
	}
}

// The statuses and the words of RFC 6749 are those of the wire.
func TestErrorTableIsTrue(t *testing.T) {
	t.Parallel()
	table := documentedErrors(t)
	throttled := &authority.ThrottledError{Verdict: limit.Verdict{Limit: 1}}
	all := []*httpError{errInternal, errNoCredential, errTooLarge, errForbidden, wire(throttled), wire(badRequest("x"))}
	for _, m := range mapping {
		e := m.as
		all = append(all, &e)
	}
	for _, e := range all {
		got, ok := table[e.Code]
		if !ok {
			t.Errorf("%s is not in the table", e.Code)
			continue
		}
		if got.Status != e.Status {
			t.Errorf("%s: the table says %d, the wire %d", e.Code, got.Status, e.Status)
		}
		if e.OAuth != "" && e.OAuth != got.OAuth {
			t.Errorf("%s: the table says %q, the wire %q", e.Code, got.OAuth, e.OAuth)
		}
		if (e.Status == http.StatusUnauthorized) != (e.Bearer != "") {
			t.Errorf("%s: status %d with challenge %q", e.Code, e.Status, e.Bearer)
		}
	}
}

// What an operator or a user can make the server echo stays within what RFC
// 6749 §5.2 allows in error_description and RFC 6750 §3 in a challenge.
func TestEchoedTextCannotBreakOutOfAHeader(t *testing.T) {
	t.Parallel()
	hostile := "a\"b\\c\r\nSet-Cookie: x=y\x00\x7f\u00e9\u2028"
	got := challenge(&httpError{Bearer: "invalid_token", Msg: hostile})
	if want := `Bearer realm="curfew", error="invalid_token", error_description="a?b?c??Set-Cookie: x=y????"`; got != want {
		t.Errorf("challenge is %s, want %s", got, want)
	}
}

// Every route has its call in docs/api.md.
func TestEveryRouteIsInTheGuide(t *testing.T) {
	t.Parallel()
	headings := map[string]bool{}
	for line := range strings.Lines(read(t, "../../docs/api.md")) {
		if list, ok := strings.CutPrefix(strings.TrimSpace(line), "### "); ok {
			for name := range strings.SplitSeq(list, ", ") {
				if strings.Contains(name, " /") {
					headings[name] = true
				}
			}
		}
	}
	described := map[string]bool{}
	path := ""
	for line := range strings.Lines(read(t, "../../docs/openapi.yaml")) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "components:") {
			break
		}
		if strings.HasPrefix(line, "  /") {
			path = strings.TrimSuffix(strings.TrimSpace(line), ":")
		} else if m := regexp.MustCompile(`^    (get|post|put|delete):$`).FindStringSubmatch(line); m != nil {
			described[strings.ToUpper(m[1])+" "+path] = true
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(described)), slices.Sorted(maps.Keys(headings))); diff != "" {
		t.Errorf("docs/openapi.yaml (-) and docs/api.md (+):\n%s", diff)
	}
}
