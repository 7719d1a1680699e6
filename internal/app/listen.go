package app

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/curfewhq/curfew/internal/config"
)

// listen opens the port, the first thing that a start does: a port that is in
// use is noticed before anything is made on disk, and a start that fails later
// has let nobody in.
func listen(c config.Config) (net.Listener, error) {
	l, err := net.Listen("tcp", c.Listen)
	switch {
	case err == nil:
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("cannot listen on %s: the port is in use; stop the other program, or choose another port with --listen", c.Listen)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("cannot listen on %s: not permitted; choose a port above 1023 with --listen", c.Listen)
	default:
		return nil, fmt.Errorf("cannot listen on %s: %w; choose another address with --listen", c.Listen, unwrapOp(err))
	}
	if c.TLS.Cert == "" {
		return l, nil
	}
	cert, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("tls.cert and tls.key cannot be used: %w", err)
	}
	return tls.NewListener(l, &tls.Config{
		Certificates: []tls.Certificate{cert},
		NextProtos:   []string{"h2", "http/1.1"},
	}), nil
}

// unwrapOp drops "listen tcp 1.2.3.4:80:" from an error, which the line around
// it says already.
func unwrapOp(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// addressURL is the URL of a listener on this machine. For an address that
// means all interfaces there is no name to be known; localhost is true at least
// here.
func addressURL(addr *net.TCPAddr, secure bool) string {
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "localhost"
	}
	scheme := "http"
	if secure {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(addr.Port))
}

// newHTTPServer bounds what a client can hold on to: no header, body or answer
// may take for ever. WriteTimeout is longer than any call may run.
func newHTTPServer(h http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(logger.With("from", "net/http").Handler(), slog.LevelWarn),
	}
}
