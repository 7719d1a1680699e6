package feedhttp

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/curfewhq/curfew/internal/feed"
)

const (
	maxGrant = 64 << 20 // bytes; an answer that is larger is none
	maxError = 4 << 10

	snapshotTimeout = 2 * time.Minute
)

// grace is how long an answer may take beyond what it may be held. It is short
// for a poll that is held, so that a connection that died silently is noticed
// before the lease is over; the poll after it is not held, and may take longer.
func grace(hold time.Duration) time.Duration {
	if hold == 0 {
		return 2 * time.Second
	}
	return min(max(hold/2, 250*time.Millisecond), 2*time.Second)
}

// ErrPlainHTTP is an authority that would be asked over plain HTTP beyond this
// machine: whoever is on the way could forge keys.
var ErrPlainHTTP = errors.New("the authority must be asked over https, unless it is on this machine")

// Client is a [feed.Transport]. It is safe for concurrent use.
type Client struct {
	base   string
	key    string
	client *http.Client
}

// New returns a Client of the authority at a URL. Key may be empty for an
// authority that asks for none. Plain http is refused unless the host is a
// loopback address or insecure is set. A nil tlsConfig trusts the system's
// roots.
func New(authority, key string, tlsConfig *tls.Config, insecure bool) (*Client, error) {
	u, err := url.Parse(strings.TrimRight(authority, "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("authority %q is no URL such as https://id.example.com", redacted(authority))
	}
	if u.Scheme == "http" && !insecure && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("%w: %s", ErrPlainHTTP, u)
	}
	dialer := &net.Dialer{Timeout: 2 * time.Second, KeepAlive: 5 * time.Second}
	return &Client{base: u.String(), key: key, client: &http.Client{
		Transport: &http.Transport{
			Proxy:       http.ProxyFromEnvironment,
			DialContext: dialer.DialContext,
			// HTTP/1.1 only: a connection of HTTP/2 that died silently is used
			// again for the next poll, and the one after it.
			TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
			TLSClientConfig:     tlsConfig,
			TLSHandshakeTimeout: 2 * time.Second,
			MaxIdleConnsPerHost: 8,
			IdleConnTimeout:     30 * time.Second,
		},
		// A redirect would carry the key somewhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func redacted(raw string) string {
	if u, err := url.Parse(raw); err == nil {
		return u.Redacted()
	}
	return "given"
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// CloseIdle closes the connections that are not in use.
func (c *Client) CloseIdle() { c.client.CloseIdleConnections() }

// Poll implements [feed.Transport].
func (c *Client) Poll(ctx context.Context, p *feed.Poll) ([]byte, error) {
	hold := time.Duration(p.WaitMS) * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, hold+grace(hold))
	defer cancel()
	body, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	resp, err := c.do(ctx, http.MethodPost, "/feed/poll", "application/json", body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if p.Release {
		return nil, nil
	}
	b, err := readAll(resp)
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return b, nil
}

// readAll reads a body of a known length without growing a buffer.
func readAll(resp *http.Response) ([]byte, error) {
	if n := resp.ContentLength; n >= 0 && n <= maxGrant {
		b := make([]byte, n)
		_, err := io.ReadFull(resp.Body, b)
		return b, err
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxGrant+1))
	if err == nil && len(b) > maxGrant {
		err = errors.New("too long")
	}
	return b, err
}

// Snapshot implements [feed.Transport]. The transport asks for gzip and
// decompresses.
func (c *Client) Snapshot(ctx context.Context) (io.ReadCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, snapshotTimeout)
	resp, err := c.do(ctx, http.MethodGet, "/feed/snapshot", "", nil)
	if err != nil {
		cancel()
		return nil, err
	}
	return &cancelBody{resp.Body, cancel}, nil
}

type cancelBody struct {
	io.ReadCloser
	cancel func()
}

func (b *cancelBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// Introspect asks the authority about a credential (RFC 7662).
func (c *Client) Introspect(ctx context.Context, credential string) ([]byte, error) {
	form := url.Values{"token": {credential}}.Encode()
	resp, err := c.do(ctx, http.MethodPost, "/introspect", "application/x-www-form-urlencoded", []byte(form))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(io.LimitReader(resp.Body, 1<<20))
}

func (c *Client) do(ctx context.Context, method, path, contentType string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	req.Header.Set("User-Agent", "curfew-verifier")
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNoContent {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, failure(resp)
}

// failure says what an answer other than success means.
func failure(resp *http.Response) error {
	var e struct {
		Code string `json:"error_code"`
		Msg  string `json:"msg"`
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxError))
	_ = json.Unmarshal(b, &e) // what is no JSON comes from something in between
	switch {
	case e.Code == "snapshot_required":
		return feed.ErrSnapshotRequired
	case resp.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%w: %s", feed.ErrInvalidKey, resp.Status)
	case e.Code == "invalid_request":
		return fmt.Errorf("%w: %s", feed.ErrBadPoll, e.Msg)
	case e.Code != "":
		return fmt.Errorf("the authority answers %s: %s", resp.Status, e.Code)
	}
	return fmt.Errorf("the authority answers %s", resp.Status)
}
