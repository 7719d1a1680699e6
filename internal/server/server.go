package server

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/netaddr"
	"github.com/curfewhq/curfew/internal/webui"
	"github.com/prometheus/client_golang/prometheus"
)

// callTimeout bounds a call as a whole: waiting for a password hash, for the
// store. Past it the answer is 503 and nothing is promised.
const callTimeout = 30 * time.Second

// endTimeout is callTimeout for calls that end something. They may have to wait
// until the lease of a verifier that died is over.
func endTimeout(lease time.Duration) time.Duration {
	return max(callTimeout, feed.Wait(lease)+10*time.Second)
}

// Config is what a Server works with.
type Config struct {
	Authority *authority.Authority
	// Addresses resolves client addresses; nil trusts no proxy.
	Addresses *netaddr.Resolver
	Metrics   *Metrics // nil = not served
	Logger    *slog.Logger
	Version   string
	// Pages serves /login, /signout and /account; nil = they are not served.
	Pages   *webui.UI
	Cookies Cookies
	// Origins are those of the front ends that may call from browsers and to
	// which a sign-in may return, such as https://app.example.com.
	Origins []string
	// Demo is a user whose name and password the login page shows, together with
	// a page that has data to show; nil = none.
	Demo *Demo
	// InsecureOpenFeed lets verifiers poll and introspect without a key.
	InsecureOpenFeed bool
	// InsecureLoopbackOrigins adds every origin on this machine to Origins.
	InsecureLoopbackOrigins bool
}

// Server serves the authority over HTTP.
type Server struct {
	authority *authority.Authority
	addresses *netaddr.Resolver
	metrics   *Metrics
	logger    *slog.Logger
	version   string
	openFeed  bool
	ending    time.Duration // endTimeout of the leases that are given
	mux       *http.ServeMux
	routes    []string

	pages    *webui.UI
	cookies  Cookies
	origins  []string
	loopback bool // InsecureLoopbackOrigins
	demo     *Demo
	warned   atomic.Int64 // when plain HTTP was last warned of
	front    http.Handler // the mux behind CORS

	running context.Context // until Drain
	drain   context.CancelFunc
}

// New wires the routes.
func New(c Config) (*Server, error) {
	if c.Addresses == nil {
		var err error
		if c.Addresses, err = netaddr.New(nil); err != nil {
			return nil, err
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(prometheus.NewRegistry())
	}
	c.Metrics.watch(c.Authority)
	s := &Server{
		authority: c.Authority, addresses: c.Addresses, metrics: c.Metrics,
		logger: c.Logger, version: c.Version, openFeed: c.InsecureOpenFeed, mux: http.NewServeMux(),
		ending: endTimeout(c.Authority.Policy().Lease),
	}
	s.pages, s.cookies, s.origins, s.demo, s.loopback = c.Pages, c.Cookies, c.Origins, c.Demo, c.InsecureLoopbackOrigins
	if s.cookies.Name == "" {
		s.cookies.Name = defaultCookie
	}
	if s.cookies.ClearSiteData == nil {
		s.cookies.ClearSiteData = []string{"storage"}
	}
	s.running, s.drain = context.WithCancel(context.Background())

	s.handle("POST /token", s.token)
	s.handle("POST /logout", s.finish(s.logout))
	s.handle("POST /logout/all", s.finish(s.logoutAll))
	s.handle("POST /revoke", s.finish(s.revoke))
	s.handle("POST /introspect", s.introspect)
	s.handle("POST /reauthenticate", s.reauthenticate)
	s.handle("GET /user", s.user)
	s.handle("PUT /user", s.updateUser)
	s.handle("GET /sessions", s.sessions)
	s.handle("POST /sessions", s.beginSession)
	s.handle("GET /sessions/current", s.currentSession)
	s.handleStream("GET /sessions/events", s.sessionEvents)
	s.handle("DELETE /sessions/{id}", s.finish(s.endSession))

	s.handle("POST /feed/poll", s.feedPoll)
	s.handle("GET /feed/snapshot", s.feedSnapshot)

	s.handle("GET /.well-known/jwks.json", s.jwks)
	s.handle("GET /.well-known/oauth-authorization-server", s.metadata)

	s.handle("GET /admin/status", s.operator(s.adminStatus))
	s.handle("GET /admin/users", s.operator(s.adminUsers))
	s.handle("POST /admin/users", s.operator(s.adminCreateUser))
	s.handle("GET /admin/users/{id}", s.operator(s.adminUser))
	s.handle("DELETE /admin/users/{id}", s.finish(s.operator(s.endUser("User deleted", s.authority.DeleteUser))))
	s.handle("POST /admin/users/{id}/logout", s.finish(s.operator(s.adminLogoutUser)))
	s.handle("POST /admin/users/{id}/disable", s.finish(s.operator(s.endUser("User disabled", s.authority.DisableUser))))
	s.handle("POST /admin/users/{id}/enable", s.operator(s.adminEnableUser))
	s.handle("POST /admin/users/{id}/password", s.finish(s.operator(s.adminSetPassword)))
	s.handle("GET /admin/sessions", s.operator(s.adminSessions))
	s.handle("DELETE /admin/sessions/{id}", s.finish(s.operator(s.adminEndSession)))
	s.handle("POST /admin/sessions/end", s.finish(s.operator(s.adminBulkEnd)))
	s.handle("POST /admin/logout", s.finish(s.operator(s.adminLogout)))
	s.handle("GET /admin/revocations", s.operator(s.adminRevocations))
	s.handle("GET /admin/revocations/{seq}", s.operator(s.adminRevocation))
	s.handle("POST /admin/canary", s.operator(s.adminMakeCanary))
	s.handle("DELETE /admin/canary/{id}", s.finish(s.operator(s.adminEndCanary)))
	s.handle("GET /admin/keys", s.operator(s.adminKeys))
	s.handle("POST /admin/keys/rotate", s.operator(s.adminRotateKeys))
	s.handle("POST /admin/keys/{kid}/revoke", s.finish(s.operator(s.adminRevokeKey)))
	s.handle("GET /admin/verifiers", s.operator(s.adminVerifiers))
	s.handle("POST /admin/verifiers", s.operator(s.createAPIKey(authority.KindVerifier)))
	s.handle("DELETE /admin/verifiers/{name}", s.operator(s.deleteAPIKey(authority.KindVerifier)))
	s.handle("GET /admin/operators", s.operator(s.listAPIKeys(authority.KindOperator)))
	s.handle("POST /admin/operators", s.operator(s.createAPIKey(authority.KindOperator)))
	s.handle("DELETE /admin/operators/{name}", s.operator(s.deleteAPIKey(authority.KindOperator)))
	s.handle("GET /admin/audit", s.operator(s.adminAudit))
	s.handle("GET /admin/audit/verify", s.operator(s.adminVerifyAudit))
	s.handle("GET /admin/backup", s.operator(s.adminBackup))

	s.handle("GET /livez", s.live)
	s.handle("GET /readyz", s.ready)
	s.handle("GET /metrics", s.serveMetrics)
	if s.pages != nil {
		s.handlePages()
	}
	s.mux.Handle("/", s.wrap("unknown", s.notFound, asJSON, callTimeout))
	var err error
	if s.front, err = s.allowOrigins(s.mux); err != nil {
		return nil, err
	}
	return s, nil
}

// Routes lists the patterns that are served, in order. The API description is
// held against it.
func (s *Server) Routes() []string { return s.routes }

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.front.ServeHTTP(w, r) }

// handler serves one call. It either writes an answer and returns nil, or
// writes nothing and returns an error.
type handler func(w http.ResponseWriter, r *http.Request) error

func (s *Server) handle(pattern string, h handler) {
	s.routes = append(s.routes, pattern)
	s.mux.Handle(pattern, s.wrap(pattern, h, asJSON, callTimeout))
}

// handleStream is handle for answers that go on for as long as the client
// listens.
func (s *Server) handleStream(pattern string, h handler) {
	s.routes = append(s.routes, pattern)
	s.mux.Handle(pattern, s.wrap(pattern, h, asJSON, 0))
}

// errorWriter writes the answer to a call that failed.
type errorWriter func(w http.ResponseWriter, r *http.Request, e *httpError)

// wrap is around every call: no cache may keep an answer, a panic is a 500 and
// not a dead connection, and errors are written and logged here only. A limit of 0 is none.
func (s *Server) wrap(route string, h handler, show errorWriter, limit time.Duration) http.Handler {
	observe := s.metrics.route(route)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		ctx, cancel := r.Context(), context.CancelFunc(func() {})
		if limit > 0 {
			ctx, cancel = context.WithTimeout(ctx, limit)
		}
		defer cancel()
		defer func() {
			if v := recover(); v != nil {
				if v == http.ErrAbortHandler {
					panic(v)
				}
				s.logger.Error("panic", "route", route, "panic", v, "stack", string(debug.Stack()))
				s.writeError(rec, r, errInternal, show)
			}
			took := time.Since(start)
			if limit == 0 && rec.started {
				took = rec.answered.Sub(start) // how long a client listens is no latency
			}
			observe(rec.status, took)
		}()
		if err := h(rec, r.WithContext(ctx)); err != nil {
			s.writeError(rec, r, err, show)
		}
	})
}

// finish carries a call to its end though its client hangs up. Browsers abort
// the requests of a page that is left, and leaving the page is what comes after
// a logout.
func (s *Server) finish(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.ending)
		defer cancel()
		if s.ending > callTimeout {
			// An answer that comes later than usual must still find its way.
			// Where there are no deadlines there is none to move.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.ending + 10*time.Second))
		}
		return h(w, r.WithContext(ctx))
	}
}

// Drain answers the polls that wait, and those that still come, so that a
// server that stops need not wait for them.
func (s *Server) Drain() { s.drain() }

// recorder notes the status.
type recorder struct {
	http.ResponseWriter
	status   int
	started  bool
	answered time.Time // when the answer began
}

func (r *recorder) WriteHeader(status int) {
	if !r.started {
		r.status = status
		r.begin()
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.begin()
	return r.ResponseWriter.Write(b)
}

func (r *recorder) begin() {
	if !r.started {
		r.started, r.answered = true, time.Now()
	}
}

// Unwrap serves [http.ResponseController].
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// origin says where a request comes from.
func (s *Server) origin(r *http.Request) authority.Origin {
	addr := s.addresses.ClientAddr(r)
	o := authority.Origin{UserAgent: strings.ToValidUTF8(r.UserAgent(), "?")}
	if addr.IsValid() {
		o.IP, o.LimitKey = addr.Unmap().WithZone("").String(), netaddr.LimitKey(addr)
	}
	return o
}

func (s *Server) notFound(_ http.ResponseWriter, r *http.Request) error {
	// The catch-all route sees known paths with the wrong method too.
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		probe := r.Clone(r.Context())
		probe.Method = m
		if _, pattern := s.mux.Handler(probe); pattern != "/" && pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) > 0 {
		return &httpError{
			Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", OAuth: "invalid_request",
			Msg: "This method is not allowed here", Header: http.Header{"Allow": {strings.Join(allowed, ", ")}},
		}
	}
	return &httpError{Status: http.StatusNotFound, Code: "not_found", Msg: "There is nothing here"}
}
