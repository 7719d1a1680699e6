package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/curfewhq/curfew/guard"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv("CURFEW_VERIFIER_KEY"), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "services:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, key string, stderr io.Writer) error {
	flags := flag.NewFlagSet("services", flag.ContinueOnError)
	flags.SetOutput(stderr)
	authority := flags.String("authority", "http://127.0.0.1:8080", "URL of the authority")
	listen := flags.String("listen", "127.0.0.1:9001", "address to listen on")
	name := flags.String("name", "orders", "what the service calls itself")
	audience := flags.String("audience", "curfew", "what tokens must be for")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil)).With("service", *name)

	g, err := guard.Open(ctx, guard.Config{Authority: *authority, Audience: *audience, Key: key, Logger: log})
	if err != nil {
		return err
	}
	// So that no logout waits for a service that has stopped.
	defer g.Close()

	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	log.Info("serving", "url", "http://"+l.Addr().String())
	srv := &http.Server{Handler: g.Middleware(routes(*name)), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() {
		wait, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if srv.Shutdown(wait) != nil {
			srv.Close() // streams do not end by themselves
		}
	})
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// routes are what the guard stands before: none of them looks at credentials.
func routes(name string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { whoami(w, r, name) })
	mux.HandleFunc("GET /events", events)
	mux.HandleFunc("GET /ws", echo)
	return mux
}

func whoami(w http.ResponseWriter, r *http.Request, name string) {
	c, _ := guard.FromContext(r.Context()) // the guard lets nobody through without
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{
		"service": name, "subject": c.Subject, "session": c.Session, "client": c.ClientID, "roles": c.Roles,
	})
}

// events is a stream of server-sent events. It ends when the session does, as
// it ends when the client goes away: by its context.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		fmt.Fprintf(w, "event: tick\ndata: %d\n\n", n)
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// sessionEnded is the code with which sockets are closed; 4000 to 4999 are free
// for applications (RFC 6455 §7.4.2).
const sessionEnded = 4401

// echo is a WebSocket. When the session ends it says so and closes. Without
// that the guard would close the connection half a second later.
func echo(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer c.CloseNow()
	stop := context.AfterFunc(r.Context(), func() {
		c.Close(sessionEnded, context.Cause(r.Context()).Error())
	})
	defer stop()
	// A read whose context ends breaks the connection off, and the client would
	// not learn why.
	ctx := context.WithoutCancel(r.Context())
	for {
		kind, msg, err := c.Read(ctx)
		if err != nil {
			return
		}
		if err := c.Write(ctx, kind, msg); err != nil {
			return
		}
	}
}
