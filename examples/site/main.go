package main

import (
	"context"
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

	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/site"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv("CURFEW_VERIFIER_KEY"), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, key string, stderr io.Writer) error {
	flags := flag.NewFlagSet("site", flag.ContinueOnError)
	flags.SetOutput(stderr)
	authority := flags.String("authority", "http://127.0.0.1:8080", "URL of the authority")
	listen := flags.String("listen", "127.0.0.1:9003", "address to listen on")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))

	s, err := site.Open(ctx, site.Config{
		Guard:            guard.Config{Authority: *authority, Key: key, Logger: log},
		InsecureLoopback: true, // plain HTTP, on this machine only
	})
	if err != nil {
		return err
	}
	defer s.Close()

	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	log.Info("serving", "url", "http://"+l.Addr().String())
	srv := &http.Server{Handler: routes(s, log), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() {
		wait, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if srv.Shutdown(wait) != nil {
			srv.Close()
		}
	})
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
