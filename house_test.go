package curfew_test

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/curfewhq/curfew"

// Data flows one way through the house. Each ban has its reason.
func TestRoomsDoNotReachWhatTheyMustNot(t *testing.T) {
	for _, rule := range []struct {
		room, ban, why string
	}{
		{"/internal/authority", "net/http", "the domain knows no transport; statuses belong to internal/server"},
		{"/internal/authority", "github.com/ncruces/go-sqlite3", "the domain knows no engine; it works with the contract in internal/store"},
		{"/internal/store", "database/sql", "the contract is not an engine's"},
		{"/internal/verify", "database/sql", "the check runs in other people's services: no database driver may come with it"},
		{"/internal/verify", "github.com/ncruces/go-sqlite3", "the check runs in other people's services: no database driver may come with it"},
		{"/internal/verify", "net/http", "the check is a function of what is in memory; it must not be able to call anybody"},
		{"/internal/verify", module + "/internal/store", "a verifier has no store"},
		{"/internal/feed", "net/http", "the protocol knows no transport; internal/feed/feedhttp does"},
		{"/internal/feed", module + "/internal/store", "the feed's ends have no store"},
		{"/guard", "database/sql", "whoever imports a middleware must not inherit a database"},
		{"/guard", "github.com/ncruces/go-sqlite3", "whoever imports a middleware must not inherit a database"},
		{"/guard", "github.com/prometheus", "metrics are an interface; the service has its own library"},
		{"/guard/site", module + "/internal/authority", "a site is no authority"},
		{"/guard/site", module + "/internal/store", "a site keeps no sessions; the authority does"},
		{"/internal/webui", module + "/internal/authority", "pages get views, and show them"},
		{"/guard", "google.golang.org/grpc", "gRPC is in guard/guardgrpc"},
		{"/guard", module + "/internal/authority", "a service is no authority"},
		{"/guard/guardtest", module + "/internal/authority", "the fake authority is the feed and a signer"},
		{"/internal/denylist", "net", "the set knows no network"},
		{"/internal/server", module + "/internal/store/sqlite", "the front works with any engine; cmd/curfew chooses one"},
		{"/internal/server", "github.com/ncruces/go-sqlite3", "the front asks the authority, never the store's engine"},
	} {
		for _, dep := range deps(t, module+rule.room) {
			if dep == rule.ban || strings.HasPrefix(dep, rule.ban+"/") {
				t.Errorf("%s reaches %s: %s", rule.room, dep, rule.why)
			}
		}
	}
}

// Whoever imports the guard gets the JOSE library and nothing else.
func TestGuardBringsLittle(t *testing.T) {
	for _, dep := range deps(t, module+"/guard") {
		first, _, _ := strings.Cut(dep, "/")
		if strings.Contains(first, ".") && !strings.HasPrefix(dep, module) && !strings.HasPrefix(dep, "github.com/go-jose/go-jose/v4") {
			t.Errorf("guard reaches %s", dep)
		}
	}
}

func TestTheWordsReachNothingButTheStandardLibrary(t *testing.T) {
	for _, dep := range deps(t, module) {
		if first, _, _ := strings.Cut(dep, "/"); strings.Contains(first, ".") && dep != module {
			t.Errorf("package curfew reaches %s", dep)
		}
	}
}

// A house whose rooms are not labelled is soon used for storage.
func TestEveryRoomSaysWhatItOwns(t *testing.T) {
	for _, line := range golist(t, "-f", "{{.Dir}}\t{{len .GoFiles}}", "./...") {
		dir, n, _ := strings.Cut(line, "\x00")
		if n == "0" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, "doc.go"))
		if err != nil {
			t.Errorf("no doc.go: %v", err)
			continue
		}
		if !bytes.Contains(text, []byte("// Package ")) && !bytes.Contains(text, []byte("// Command ")) && !bytes.Contains(text, []byte("/*")) {
			t.Errorf("%s/doc.go has no package comment", dir)
		}
	}
}

func deps(t *testing.T, pkg string) []string {
	t.Helper()
	return golist(t, "-deps", pkg)
}

func golist(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v\n%s", args, err, &stderr)
	}
	return strings.Fields(strings.ReplaceAll(string(out), "\t", "\x00")) // keep pairs together
}

// A document that names the test of each promise is worth nothing if the test
// was renamed away.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	source := map[string]string{}
	for _, pattern := range []string{"*_test.go", "*/*_test.go", "*/*/*_test.go", "*/*/*/*_test.go", "js/*/test/*.ts", "js/packages/*/test/*.ts", "js/packages/*/test/*.tsx"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			source[filepath.ToSlash(name)] = string(text)
		}
	}
	all := strings.Join(slices.Collect(maps.Values(source)), "\n")
	inGo := regexp.MustCompile("`(Test[A-Z][A-Za-z0-9_]*)`")
	inTS := regexp.MustCompile("`((?:js|examples)/[a-z/-]+\\.test\\.tsx?)`: \"([^\"]+)\"")
	for _, doc := range []string{"docs/coverage.md", "docs/cookies.md", "docs/guarantees.md"} {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range inGo.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(all, "func "+m[1]+"(") {
				t.Errorf("%s names %s, which does not exist", doc, m[1])
			}
		}
		for _, m := range inTS.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(source[m[1]], m[2]) {
				t.Errorf("%s names %q of %s, which does not exist", doc, m[2], m[1])
			}
		}
	}
}
