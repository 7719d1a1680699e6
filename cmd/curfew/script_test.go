package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"curfew":  main,
		"call":    func() { os.Exit(callMain(os.Args[1:])) },
		"service": func() { os.Exit(serviceMain(os.Args[1:])) },
		"tamper":  func() { os.Exit(tamperMain(os.Args[1:])) },
	})
}

// quickExit keeps the race detector from sleeping for a second at the end of
// each of the many processes.
const quickExit = "atexit_sleep_ms=0"

func TestScripts(t *testing.T) {
	readme, err := filepath.Abs("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("README", readme)
			env.Setenv("GORACE", quickExit)
			// Logins in tests are many, and the passwords not worth guessing.
			env.Setenv("CURFEW_PASSWORD_MEMORY_KIB", "64")
			env.Setenv("CURFEW_PASSWORD_ITERATIONS", "1")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"freeport":   freeport,
			"waitfor":    waitfor,
			"field":      field,
			"transcript": transcript,
			"truncate":   truncate,
			"same":       same,
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" { // may write where permissions say no
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

func usage(ts *testscript.TestScript, neg bool, args []string, n int, text string) {
	if neg || len(args) != n {
		ts.Fatalf("usage: %s", text)
	}
}

// freeport VAR sets VAR to 127.0.0.1 and a port that is free.
func freeport(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "freeport VAR")
	ts.Setenv(args[0], freeAddress())
}

func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// waitfor URL waits until a GET answers 200; waitfor FILE TEXT until a file
// holds a text.
func waitfor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: waitfor URL | waitfor FILE TEXT")
	}
	ok := func() bool { return answers(args[0]) }
	if len(args) == 2 {
		path := ts.MkAbs(args[0])
		ok = func() bool {
			b, err := os.ReadFile(path)
			return err == nil && strings.Contains(string(b), args[1])
		}
	}
	if !eventually(ok) {
		ts.Fatalf("waited too long for %s", strings.Join(args, " "))
	}
}

func answers(url string) bool {
	resp, err := http.Get(url)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func eventually(ok func() bool) bool {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

// field VAR FILE NAME sets VAR to a member, such as keys.0.kid, of the JSON in
// a file.
func field(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, "field VAR FILE NAME")
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &v))
	for name := range strings.SplitSeq(args[2], ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[name]
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(x) {
				ts.Fatalf("no element %s", name)
			}
			v = x[i]
		}
	}
	if v == nil {
		ts.Fatalf("%s has no %s", args[1], args[2])
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

// transcript FROM TO [URL] copies the commands of a first logout, from the line
// that sets URL to the end of the block. With a URL that line is replaced: it is
// the only one that differs between the README and a server on a free port.
func transcript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: transcript FROM TO [URL]")
	}
	var lines []string
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if len(lines) == 0 && !strings.HasPrefix(line, "URL=") {
			continue
		}
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "```") {
			break
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		ts.Fatalf("%s has no transcript", args[0])
	}
	if len(args) == 3 {
		lines[0] = "URL=" + args[2] + "\n"
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(strings.Join(lines, "")), 0o600))
}

// truncate FILE cuts a file in half.
func truncate(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "truncate FILE")
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), info.Size()/2))
}

// same A B fails if the bytes of two files differ. cmp prints them, which a
// database is not made for.
func same(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, "same A B")
	if ts.ReadFile(args[0]) != ts.ReadFile(args[1]) {
		ts.Fatalf("%s and %s differ", args[0], args[1])
	}
}

// callMain makes one HTTP call: call STATUS METHOD URL [name=value ...]. It
// sends BEARER from the environment, prints the body of the answer, and fails
// if the status is another.
func callMain(args []string) int {
	form := url.Values{}
	for _, p := range args[3:] {
		name, value, _ := strings.Cut(p, "=")
		form.Set(name, value)
	}
	req, err := http.NewRequest(args[1], args[2], strings.NewReader(form.Encode()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if b := os.Getenv("BEARER"); b != "" {
		req.Header.Set("Authorization", "Bearer "+b)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer resp.Body.Close()
	io.Copy(os.Stdout, resp.Body)
	if fmt.Sprint(resp.StatusCode) != args[0] {
		fmt.Fprintf(os.Stderr, "status %d, want %s\n", resp.StatusCode, args[0])
		return 1
	}
	return 0
}

// tamperMain changes a store behind the back of Curfew: tamper FILE SQL.
func tamperMain(args []string) int {
	db, err := sql.Open("sqlite3", "file:"+args[0]+"?mode=rw")
	if err == nil {
		defer db.Close()
		var result sql.Result
		if result, err = db.Exec(args[1]); err == nil {
			if n, _ := result.RowsAffected(); n == 0 && !strings.HasPrefix(args[1], "PRAGMA") {
				err = fmt.Errorf("no row was changed")
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tamper:", err)
		return 1
	}
	return 0
}
