package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	defaultAuthority = "http://127.0.0.1:8080"
	defaultKeyFile   = "./curfew-data/operator.key"
	// callTimeout is longer than the authority takes for any call.
	callTimeout = 90 * time.Second
	// maxAnswer bounds what is read of an answer: something else may answer
	// under the URL.
	maxAnswer = 64 << 20
)

// remote is the authority that a command talks to.
type remote struct {
	authority string
	keyFile   string
	base      *url.URL
	key       string
	http      *http.Client
}

// remoteFlags adds the flags of the commands that talk to an authority.
func (c *cli) remoteFlags(cmd *cobra.Command) *cobra.Command {
	cmd.PersistentFlags().StringVar(&c.remote.authority, "authority", "", "URL of the authority (CURFEW_AUTHORITY; default "+defaultAuthority+")")
	cmd.PersistentFlags().StringVar(&c.remote.keyFile, "operator-key-file", "",
		"file with the operator key (CURFEW_OPERATOR_KEY_FILE, or the key itself in CURFEW_OPERATOR_KEY; default "+defaultKeyFile+")")
	return cmd
}

// connect finds out whom to talk to and as whom.
func (c *cli) connect() error {
	r := &c.remote
	text := firstOf(r.authority, os.Getenv("CURFEW_AUTHORITY"), defaultAuthority)
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return &usageError{fmt.Errorf("--authority is %q: must be a URL such as %s", text, defaultAuthority)}
	}
	u.Path = strings.TrimRight(u.Path, "/")
	r.base = u
	if r.key, err = operatorKey(r.keyFile); err != nil {
		return err
	}
	if u.Scheme == "http" && u.Hostname() != "localhost" && !parseLoopback(u.Hostname()) {
		c.warnings.Warn("the operator key goes over plain HTTP, and everybody on the way can read it; use https", "authority", text)
	}
	r.http = &http.Client{
		Timeout: callTimeout,
		// An authority does not redirect. Whatever does is something else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

func operatorKey(flag string) (string, error) {
	key, file := os.Getenv("CURFEW_OPERATOR_KEY"), os.Getenv("CURFEW_OPERATOR_KEY_FILE")
	switch {
	case flag != "":
		file = flag
	case key != "" && file != "":
		return "", &usageError{errors.New("CURFEW_OPERATOR_KEY and CURFEW_OPERATOR_KEY_FILE are both set; keep one")}
	case key != "":
		return strings.TrimSpace(key), nil
	case file == "":
		file = defaultKeyFile
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", &keyError{fmt.Errorf("operator key file %s does not exist; 'curfew serve' writes it into its data directory: name it with --operator-key-file or CURFEW_OPERATOR_KEY_FILE", file)}
	}
	if err != nil {
		return "", &keyError{fmt.Errorf("operator key: %w", err)}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", &keyError{fmt.Errorf("operator key: %w", err)}
	}
	text := strings.TrimSpace(string(b))
	if text == "" || strings.ContainsAny(text, " \r\n\t\x00") {
		return "", &keyError{fmt.Errorf("operator key file %s does not hold a key and nothing else", file)}
	}
	return text, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// apiError is an answer of the authority that is not a success.
type apiError struct {
	Status int    `json:"code"`
	Code   string `json:"error_code"`
	Msg    string `json:"msg"`
}

func (e *apiError) Error() string { return e.Msg }

// request makes one call. The caller closes the body of the answer.
func (c *cli) request(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.remote.base.String()+path, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+c.remote.key)
	req.Header.Set("User-Agent", "curfew/"+versionText())
	resp, err := c.remote.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.refused(resp)
}

func (c *cli) unreachable(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	hint := "check --authority"
	var op *net.OpError
	if errors.As(err, &op) {
		err, hint = op.Err, "is 'curfew serve' running? Otherwise set --authority or CURFEW_AUTHORITY"
	}
	return &unreachableError{fmt.Errorf("the authority %s does not answer: %w; %s", c.remote.base, err, hint)}
}

func (c *cli) refused(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	e := &apiError{}
	if json.Unmarshal(b, e) != nil || e.Msg == "" {
		e.Msg = fmt.Sprintf("%s answers %s, which is not how an authority answers; check --authority", c.remote.base, resp.Status)
	}
	e.Status = resp.StatusCode
	if e.Status == http.StatusUnauthorized {
		e.Msg += "; check --operator-key-file"
	}
	return e
}

// call makes one call and decodes the answer into out, if that is not nil.
func (c *cli) call(ctx context.Context, method, path string, body, out any) error {
	resp, err := c.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return c.unreachable(err)
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s answers something else than an authority: %w", c.remote.base, err)
	}
	return nil
}

// operate wraps a command that talks to the authority.
func (c *cli) operate(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return c.action(func(cmd *cobra.Command, args []string) error {
		if err := c.connect(); err != nil {
			return err
		}
		return f(cmd, args)
	})
}

// withQuery appends the parameters that are not empty.
func withQuery(path string, params map[string]string) string {
	q := url.Values{}
	for k, v := range params {
		if v != "" {
			q.Set(k, v)
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}
