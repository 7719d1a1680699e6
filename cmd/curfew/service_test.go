package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/curfewhq/curfew/guard"
)

// TestShutdownDoesNotWaitForVerifiers: the poll of a service may be held for a
// third of the lease, which is longer than anybody wants to wait for a stop.
func TestShutdownDoesNotWaitForVerifiers(t *testing.T) {
	t.Setenv("CURFEW_FEED_LEASE", "1m")
	p := newProcess(t)
	p.start()
	key := strings.TrimSpace(p.operator("verifiers", "add", "orders"))
	g, err := guard.Open(t.Context(), guard.Config{Authority: p.url(""), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	time.Sleep(100 * time.Millisecond) // its poll is waiting
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err = p.cmd.Wait()
	p.cmd = nil
	if took := time.Since(began); err != nil || took > 5*time.Second || strings.Contains(p.stderr.String(), "cut off") {
		t.Errorf("stopped after %v, %v:\n%s", took, err, p.stderr.String())
	}
}

// serviceMain is a small service for the scripts: service [-careless] LISTEN
// AUTHORITY [KEYFILE]. /open is for all, /me needs a login, /broken never
// answers anything of use, and /login sends whoever has no token to a page. A
// careless service remembers whom it has let in, and never asks again.
func serviceMain(args []string) int {
	fs := flag.NewFlagSet("service", flag.ExitOnError)
	careless := fs.Bool("careless", false, "")
	fs.Parse(args)
	conf := guard.Config{Authority: fs.Arg(1)}
	if file := fs.Arg(2); file != "" {
		key, err := os.ReadFile(file)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		conf.Key = strings.TrimSpace(string(key))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	g, err := guard.Open(ctx, conf)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	me := g.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "you\n") }))
	if *careless {
		me = remembering(me)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/open", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "all\n") })
	mux.Handle("/me", me)
	mux.HandleFunc("/broken", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "out of order", http.StatusInternalServerError)
	})
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		if _, err := g.Verify(r.Context(), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")); err != nil {
			http.Redirect(w, r, "/open", http.StatusSeeOther)
		}
	})
	srv := &http.Server{Addr: fs.Arg(0), Handler: mux}
	context.AfterFunc(ctx, func() { srv.Close() })
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := g.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// remembering is the mistake that doctor is there to find.
func remembering(next http.Handler) http.Handler {
	var known sync.Map
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("Authorization")
		if _, ok := known.Load(token); ok && token != "" {
			io.WriteString(w, "you again\n")
			return
		}
		note := &noting{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(note, r)
		if note.status == http.StatusOK {
			known.Store(token, true)
		}
	})
}

type noting struct {
	http.ResponseWriter
	status int
}

func (n *noting) WriteHeader(status int) {
	n.status = status
	n.ResponseWriter.WriteHeader(status)
}
