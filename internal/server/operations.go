package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics counts for Prometheus. It implements [authority.Observer].
type Metrics struct {
	registry  *prometheus.Registry
	logins    *prometheus.CounterVec
	refreshes *prometheus.CounterVec
	ended     *prometheus.CounterVec
	enforced  prometheus.Histogram
	lag       prometheus.Histogram
	lapsed    *prometheus.CounterVec
	requests  *prometheus.HistogramVec
}

var _ authority.Observer = (*Metrics)(nil)

// NewMetrics registers the metrics of one server.
func NewMetrics(reg *prometheus.Registry) *Metrics {
	m := &Metrics{
		registry:  reg,
		logins:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "curfew_logins_total", Help: "Logins by result."}, []string{"result"}),
		refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "curfew_refreshes_total", Help: "Refreshes by result."}, []string{"result"}),
		ended:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "curfew_sessions_ended_total", Help: "Sessions ended by reason."}, []string{"reason"}),
		enforced: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "curfew_revocation_seconds", Help: "From the call that revokes to its revocation being in force.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
		}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "curfew_revocation_lag_seconds", Help: "From a revocation being recorded to being enforced at every verifier.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
		}),
		lapsed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "curfew_leases_lapsed_total", Help: "Leases of verifiers that ran out."}, []string{"verifier"}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "curfew_http_request_seconds", Help: "Calls by route and status.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 4, 9),
		}, []string{"route", "status"}),
	}
	reg.MustRegister(m.logins, m.refreshes, m.ended, m.enforced, m.lag, m.lapsed, m.requests,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watch registers what is read from the authority when it is asked for.
func (m *Metrics) watch(a *authority.Authority) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "curfew_denylist_entries", Help: "Revocations that are remembered."},
			func() float64 { return float64(a.Denied()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "curfew_log_head", Help: "Position of the revocation log that is in force."},
			func() float64 { return float64(a.Position().Seq) }),
		verifierCollector{a.Feed()},
	)
}

// Login implements [authority.Observer].
func (m *Metrics) Login(result string) { m.logins.WithLabelValues(result).Inc() }

// Refresh implements [authority.Observer].
func (m *Metrics) Refresh(result string) { m.refreshes.WithLabelValues(result).Inc() }

// Ended implements [authority.Observer].
func (m *Metrics) Ended(why curfew.Reason, n int64) {
	m.ended.WithLabelValues(string(why)).Add(float64(n))
}

// Enforced implements [authority.Observer].
func (m *Metrics) Enforced(took time.Duration) { m.enforced.Observe(took.Seconds()) }

// Lag implements [authority.Observer].
func (m *Metrics) Lag(lag time.Duration) { m.lag.Observe(lag.Seconds()) }

// Lapsed implements [authority.Observer].
func (m *Metrics) Lapsed(verifier string) { m.lapsed.WithLabelValues(verifier).Inc() }

func (m *Metrics) route(pattern string) func(status int, took time.Duration) {
	v := m.requests.MustCurryWith(prometheus.Labels{"route": pattern})
	return func(status int, took time.Duration) {
		v.WithLabelValues(strconv.Itoa(status)).Observe(took.Seconds())
	}
}

func (s *Server) live(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "version": s.version})
	return nil
}

// ready serves GET /readyz: the store answers and the log is in force.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) error {
	if err := s.authority.Ready(r.Context()); err != nil {
		return &httpError{Status: http.StatusServiceUnavailable, Code: "not_ready", Msg: sentence(err.Error()), Header: http.Header{"Retry-After": {"1"}}, Err: err}
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	return nil
}

func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) error {
	promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	return nil
}
