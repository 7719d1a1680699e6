package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/curfewhq/curfew/guard"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	g, err := guard.Open(ctx, guard.Config{
		Authority: os.Getenv("CURFEW_AUTHORITY"), Key: os.Getenv("CURFEW_VERIFIER_KEY"),
		StartStale: true, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", os.Getenv("LISTEN"))
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", l.Addr())
	srv := &http.Server{Handler: g.Middleware(http.HandlerFunc(who))}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// The last request first, then the lease. It is no failure if the authority
	// cannot be told: it will wait for the rest of the lease.
	if err := srv.Shutdown(context.Background()); err != nil {
		return err
	}
	if err := g.Close(); err != nil {
		log.Print(err)
	}
	return nil
}

func who(w http.ResponseWriter, r *http.Request) {
	c, _ := guard.FromContext(r.Context())
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]string{"subject": c.Subject, "session_id": c.Session})
}
