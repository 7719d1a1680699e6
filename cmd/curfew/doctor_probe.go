package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// probe is a service that is asked with the canary.
type probe struct {
	url    string
	client *http.Client

	mu      sync.Mutex
	answers []answer
	before  string // why it cannot be measured, found before the logout
}

// answer is one answer of the service, or none.
type answer struct {
	began, ended time.Time
	verdict      verdict
	stale        bool   // 503: ask again
	text         string // status or error
}

type verdict int

const (
	neither  verdict = iota // an error of whatever kind, such as 503 of a verifier without lease
	accepted                // 2xx
	refused                 // 401, 403, or a redirect to a login page
)

// probeTime is what became of a probe.
type probeTime struct {
	URL     string   `json:"url"`
	State   string   `json:"state"`
	AfterMS *float64 `json:"after_ms,omitempty"` // of the first refusal, from the logout's call on
	// Requests are those that started after the logout was answered, Accepted
	// those of them that should have been refused.
	Requests int    `json:"requests"`
	Accepted int    `json:"accepted"`
	Result   string `json:"result"`
}

const (
	probeTimeout = 10 * time.Second
	probeWorkers = 2
	// probePause keeps a check-up from being an attack.
	probePause = time.Millisecond
	// probeMore is how long requests go on after the answer at least, probeMost
	// how long if it has brought no verdict by then.
	probeMore = 200 * time.Millisecond
	probeMost = 5 * time.Second
)

func newProbes(urls []string) ([]*probe, error) {
	var out []*probe
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, &usageError{fmt.Errorf("--probe is %q: must be a URL such as https://orders.example.com/me", text)}
		}
		out = append(out, &probe{url: text, client: &http.Client{
			Timeout:   probeTimeout,
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: probeWorkers},
			// Where a service sends people without a login is its refusal.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}})
	}
	return out, nil
}

// ask makes one request, without a token if that is empty.
func (p *probe) ask(ctx context.Context, token string) answer {
	a := answer{began: time.Now()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		a.text = err.Error()
		return a
	}
	req.Header.Set("User-Agent", "curfew-doctor/"+versionText())
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := p.client.Do(req)
	a.ended = time.Now()
	if err != nil {
		a.text = "no answer: " + bare(err).Error()
		return a
	}
	// Only what has arrived is an answer, and its connection can be used again.
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	resp.Body.Close()
	a.ended, a.text = time.Now(), resp.Status
	switch s := resp.StatusCode; {
	case err != nil:
		a.text = "an answer that was cut off"
	case s >= 200 && s < 300:
		a.verdict = accepted
	case s == http.StatusServiceUnavailable:
		a.stale = true
	case s == http.StatusUnauthorized || s == http.StatusForbidden || s >= 300 && s < 400:
		a.verdict = refused
	}
	return a
}

// bare drops method and URL from an error of a request: they stand beside it.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// prepare finds out whether a refusal will mean anything: the service must
// refuse whoever has no token, and accept the canary.
func (p *probe) prepare(ctx context.Context, token string) {
	if a := p.ask(ctx, ""); a.verdict == accepted {
		p.before = fmt.Sprintf("answers %s without a token; give a URL that needs a login", a.text)
		return
	}
	// A service that has just started may have no lease yet.
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		a := p.ask(ctx, token)
		switch {
		case a.verdict == accepted:
			return
		case a.verdict == refused:
			p.before = fmt.Sprintf("refused the canary before the logout (%s); it must accept access tokens of this authority from any user", a.text)
			return
		case !a.stale || time.Now().After(end) || ctx.Err() != nil:
			p.before = fmt.Sprintf("did not accept the canary before the logout (%s)", a.text)
			return
		}
	}
}

// hammer prepares the probes and begins to send the canary to those that can be
// measured. The function that it returns goes on with that for a while after
// the logout's answer, and then says what came of it.
func hammer(ctx context.Context, probes []*probe, token string) func(began, answered time.Time, most time.Duration) []probeTime {
	var prepared, running sync.WaitGroup
	for _, p := range probes {
		prepared.Go(func() { p.prepare(ctx, token) })
	}
	prepared.Wait()
	ctx, cancel := context.WithCancel(ctx)
	for _, p := range probes {
		if p.before != "" {
			continue
		}
		for range probeWorkers {
			running.Go(func() {
				for ctx.Err() == nil {
					a := p.ask(ctx, token)
					if ctx.Err() != nil {
						return // cut off by ourselves
					}
					p.mu.Lock()
					p.answers = append(p.answers, a)
					p.mu.Unlock()
					time.Sleep(probePause)
				}
			})
		}
	}
	return func(began, answered time.Time, most time.Duration) []probeTime {
		defer func() {
			cancel()
			running.Wait()
			for _, p := range probes {
				p.client.CloseIdleConnections()
			}
		}()
		for ctx.Err() == nil && !enough(probes, answered) {
			time.Sleep(10 * time.Millisecond)
		}
		var out []probeTime
		for _, p := range probes {
			out = append(out, p.judge(began, answered, most))
		}
		return out
	}
}

// enough reports whether nothing more is to be learned from the probes.
func enough(probes []*probe, answered time.Time) bool {
	since := time.Since(answered)
	if since >= probeMost {
		return true
	}
	for _, p := range probes {
		p.mu.Lock()
		settled := p.before != ""
		for i := len(p.answers) - 1; i >= 0 && !settled; i-- {
			a := p.answers[i]
			settled = since >= probeMore && a.verdict != neither && a.began.After(answered)
		}
		p.mu.Unlock()
		if !settled {
			return false
		}
	}
	return true
}

// judge says what the answers amount to.
func (p *probe) judge(began, answered time.Time, most time.Duration) probeTime {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := probeTime{URL: p.url, State: stateFail}
	if p.before != "" {
		out.Result = p.before
		return out
	}
	var first time.Duration
	last := "nothing"
	for _, a := range p.answers {
		if a.verdict == refused && !a.began.Before(began) {
			if took := a.ended.Sub(began); out.AfterMS == nil || took < first {
				ms := milliseconds(took)
				first, out.AfterMS = took, &ms
			}
		}
		if a.began.After(answered) {
			out.Requests++
			if last = a.text; a.verdict == accepted {
				out.Accepted++
			}
		}
	}
	switch {
	case out.Accepted > 0:
		out.Result = fmt.Sprintf("accepted %d of %d requests that started after the logout was answered", out.Accepted, out.Requests)
	case out.AfterMS == nil:
		out.Result = fmt.Sprintf("did not refuse the canary: of %d requests after the logout the last was answered %s", out.Requests, last)
	case first > most:
		out.Result = fmt.Sprintf("refused only after %.1f ms", *out.AfterMS)
	default:
		out.State = stateOK
		out.Result = fmt.Sprintf("refused after %.1f ms; none of %d requests after the logout's answer was accepted", *out.AfterMS, out.Requests)
	}
	return out
}
