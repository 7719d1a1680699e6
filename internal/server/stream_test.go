package server

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// serve serves h over HTTP/1.1 and HTTP/2, with a limit on writing that is
// shorter than what h takes.
func serve(t *testing.T, h http.HandlerFunc, each func(t *testing.T, ts *httptest.Server)) {
	for _, name := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ts := httptest.NewUnstartedServer(h)
			ts.EnableHTTP2 = name == "HTTP/2.0"
			ts.Config.WriteTimeout = 300 * time.Millisecond
			ts.StartTLS()
			t.Cleanup(ts.Close)
			each(t, ts)
		})
	}
}

// A stream lives as long as its session, whatever the server allows an answer,
// and however long there is nothing to tell. HTTP/2 ends a stream when its
// deadline is over, though nothing is being written.
func TestStreamOutlivesTheLimitsOfAnAnswer(t *testing.T) {
	t.Parallel()
	serve(t, func(w http.ResponseWriter, _ *http.Request) {
		out := &eventStream{w: w, rc: http.NewResponseController(w), patience: 150 * time.Millisecond}
		defer out.finish()
		w.WriteHeader(http.StatusOK)
		for range 4 {
			if err := out.write("x"); err != nil {
				t.Errorf("writing: %v", err)
			}
			time.Sleep(400 * time.Millisecond)
		}
	}, func(t *testing.T, ts *httptest.Server) {
		resp, err := ts.Client().Get(ts.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "xxxx" || resp.Proto != strings.TrimPrefix(t.Name(), "TestStreamOutlivesTheLimitsOfAnAnswer/") {
			t.Errorf("%s: %q, %v", resp.Proto, b, err)
		}
	})
}

// A client that does not read must not hold a stream for ever.
func TestStreamGivesUpAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	gaveUp := make(chan error, 2)
	serve(t, func(w http.ResponseWriter, _ *http.Request) {
		out := &eventStream{w: w, rc: http.NewResponseController(w), patience: 200 * time.Millisecond}
		w.WriteHeader(http.StatusOK)
		var err error
		for range 1000 {
			if err = out.write(strings.Repeat("x", 1<<20)); err != nil {
				break
			}
		}
		gaveUp <- err
	}, func(t *testing.T, ts *httptest.Server) {
		resp, err := ts.Client().Get(ts.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		select {
		case err := <-gaveUp:
			if err == nil {
				t.Error("a gigabyte was written to somebody who does not read")
			}
		case <-time.After(20 * time.Second):
			t.Error("still writing")
		}
	})
}

// flushless is a connection that cannot do what a stream needs.
type flushless struct{ http.ResponseWriter }

// Where there are no deadlines there are no streams: one that cannot be ended
// would be held for ever.
func TestStreamNeedsDeadlines(t *testing.T) {
	t.Parallel()
	w := flushless{httptest.NewRecorder()}
	out := &eventStream{w: w, rc: http.NewResponseController(w), patience: time.Second}
	if err := out.write("x"); !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("write: %v", err)
	}
}
