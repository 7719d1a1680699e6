package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/config"
	"github.com/curfewhq/curfew/internal/netaddr"
	"github.com/curfewhq/curfew/internal/password"
	"github.com/curfewhq/curfew/internal/seal"
	"github.com/curfewhq/curfew/internal/server"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/store/sqlite"
	"github.com/prometheus/client_golang/prometheus"
)

// Options are what Serve needs beside the configuration.
type Options struct {
	Version string
	Logger  *slog.Logger
	// Seed runs before the first request is served, if it is not nil.
	Seed func(context.Context, *authority.Authority) error
	// Ready is told when requests are served, if it is not nil.
	Ready func(Running)
	// Demo makes it an authority to try things with, that has nothing to protect
	// and listens on this machine only: verifiers attach themselves without a
	// key, cookies go over plain HTTP, front ends on this machine may call, and
	// the login page shows this user's password. nil = a real one.
	Demo *server.Demo
}

// Running says where an authority can be reached.
type Running struct {
	URL         string // of the listener, reachable from this machine
	Issuer      string
	OperatorKey string // file with the operator's key
}

// Serve runs an authority until ctx is done. Then it stops accepting, finishes
// the requests in flight, and only after that stops what they depend on.
func Serve(ctx context.Context, c config.Config, o Options) (err error) {
	l, err := listen(c)
	if err != nil {
		return err
	}
	defer l.Close()
	h, err := openHome(c, o.Logger)
	if err != nil {
		return err
	}
	defer h.close()
	metrics := server.NewMetrics(prometheus.NewRegistry())
	running := Running{
		URL:         addressURL(l.Addr().(*net.TCPAddr), c.TLS.Cert != ""),
		OperatorKey: filepath.Join(h.dir, operatorFile),
	}
	if running.Issuer = c.PublicURL; c.PublicURL == "" {
		running.Issuer = running.URL
	}
	// A start may be interrupted, but not half of it: from here on ctx only
	// ends the serving.
	start := context.WithoutCancel(ctx)
	db, auth, err := h.openAuthority(start, c, running.Issuer, o.Logger, metrics)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := h.operatorKey(start, auth, running.OperatorKey, o.Logger); err != nil {
		return err
	}
	if o.Seed != nil {
		if err := o.Seed(start, auth); err != nil {
			return err
		}
	}
	addresses, err := netaddr.New(c.TrustedProxies)
	if err != nil {
		return err
	}
	ui, err := pages(c, o)
	if err != nil {
		return err
	}
	handler, err := server.New(server.Config{
		Authority: auth, Addresses: addresses, Metrics: metrics, Logger: o.Logger, Version: o.Version,
		Pages: ui, Cookies: cookies(c, o), Origins: c.Web.Origins, Demo: o.Demo,
		InsecureOpenFeed: o.Demo != nil, InsecureLoopbackOrigins: o.Demo != nil,
	})
	if err != nil {
		return err
	}
	warn(c, l, o.Logger)
	srv := newHTTPServer(handler, o.Logger)
	srv.RegisterOnShutdown(handler.Drain)
	return serve(ctx, c.ShutdownTimeout, l, auth, srv, o, running)
}

// openAuthority opens store and authority. The caller closes the store.
func (h *home) openAuthority(ctx context.Context, c config.Config, issuer string, logger *slog.Logger, observe authority.Observer) (*sqlite.DB, *authority.Authority, error) {
	db, key, err := h.openStore(ctx, c, logger)
	if err != nil {
		return nil, nil, err
	}
	hasher, err := password.New(hashing(c))
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	auth, err := authority.Open(ctx, policy(c, issuer), authority.Deps{
		Store: db, Hasher: hasher, Sealer: key, Logger: logger, Observer: observe,
	})
	if errors.Is(err, seal.ErrWrongKey) {
		err = fmt.Errorf("this is not the master key that the store %s was sealed with; %s", h.store, keyAdvice)
	}
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, auth, nil
}

// serve serves until ctx is done, and stops in the order that a logout in
// flight needs: no new requests, the end of those under way, then the log.
func serve(ctx context.Context, grace time.Duration, l net.Listener, auth *authority.Authority, srv *http.Server, o Options, running Running) error {
	follow, stop := context.WithCancel(context.WithoutCancel(ctx))
	followed := make(chan error, 1)
	go func() { followed <- auth.Run(follow) }()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	if o.Ready != nil {
		o.Ready(running)
	}

	var err error
	select {
	case <-ctx.Done():
		o.Logger.Info("stopping: finishing the requests in flight", "at_most", grace)
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if err := srv.Shutdown(limit); err != nil {
			o.Logger.Warn("some requests took longer and were cut off", "after", grace)
			srv.Close()
		}
		<-served
	case err = <-served:
		err = fmt.Errorf("serving: %w", err)
	case err = <-followed:
		// It returns before it is told to only if something is very wrong.
		srv.Close()
		stop()
		return fmt.Errorf("following the revocation log: %w", errors.Join(err, errors.New("stopped early")))
	}
	stop()
	err = errors.Join(err, <-followed)
	if err == nil {
		o.Logger.Info("stopped")
	}
	return err
}

func warn(c config.Config, l net.Listener, logger *slog.Logger) {
	ip := l.Addr().(*net.TCPAddr).IP
	if !ip.IsLoopback() && c.TLS.Cert == "" {
		logger.Warn("plain HTTP beyond this machine: everybody on the way can read passwords and tokens; "+
			"set tls.cert and tls.key, or listen on 127.0.0.1 behind a proxy that does TLS", "listen", l.Addr().String())
	}
	if ip.IsUnspecified() && c.PublicURL == "" {
		logger.Warn("tokens will name localhost as their issuer; set --public-url to the URL that clients use")
	}
}

// operatorKey makes the first operator key and keeps it in a file beside the
// store, so that the operator of a new installation needs no flag either.
func (h *home) operatorKey(ctx context.Context, a *authority.Authority, path string, logger *slog.Logger) error {
	keys, err := a.APIKeys(ctx, authority.KindOperator)
	if err != nil {
		return fmt.Errorf("reading the operator keys: %w", err)
	}
	_, err = os.Lstat(path)
	switch {
	case len(keys) > 0 && errors.Is(err, fs.ErrNotExist):
		logger.Warn("the operator key file is missing, and a key cannot be shown again; make another one: stop curfew, run "+
			"'curfew operators add NAME --offline' with the same --data, and keep what it prints", "file", path, "have", names(keys))
		return nil
	case len(keys) > 0:
		return nil
	case err == nil:
		return fmt.Errorf("operator key file %s belongs to another store, this one has no operator; move the file away and start again", path)
	}
	secret, err := a.CreateAPIKey(ctx, "default", authority.KindOperator, authority.System, authority.Origin{})
	if err != nil {
		return fmt.Errorf("making the operator key: %w", err)
	}
	if err := writePrivate(path, []byte(secret+"\n")); err != nil {
		return fmt.Errorf("writing the operator key: %w", err)
	}
	logger.Info("made an operator key", "file", path)
	return nil
}

func names(keys []store.APIKey) []string {
	var out []string
	for _, k := range keys {
		out = append(out, k.Name)
	}
	return out
}
