package feedhttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/curfewhq/curfew/internal/feed"
)

// ReadPoll reads the poll of a request. Its errors wrap [feed.ErrBadPoll].
func ReadPoll(w http.ResponseWriter, r *http.Request) (*feed.Poll, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, feed.MaxPoll))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return nil, fmt.Errorf("%w: longer than %d bytes", feed.ErrBadPoll, feed.MaxPoll)
	case err != nil:
		return nil, fmt.Errorf("%w: the body was cut off", feed.ErrBadPoll)
	}
	var p feed.Poll
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("%w: it is not the JSON object that docs/protocol.md describes", feed.ErrBadPoll)
	}
	return &p, nil
}

// WriteGrant answers a poll. A nil grant answers a release.
func WriteGrant(w http.ResponseWriter, g *feed.Grant) {
	if g == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	out := g.Append(make([]byte, 0, 512+len(g.Lines)))
	h := w.Header()
	h["Content-Type"] = []string{feed.ContentType}
	h["Content-Length"] = []string{strconv.Itoa(len(out))}
	w.Write(out)
}

// WriteSnapshot answers with a snapshot, compressed if the client takes that.
func WriteSnapshot(w http.ResponseWriter, r *http.Request, s *feed.Snapshot) error {
	w.Header().Set("Content-Type", feed.ContentType)
	w.Header().Set("Vary", "Accept-Encoding")
	if !acceptsGzip(r) {
		_, err := s.WriteTo(w)
		return err
	}
	w.Header().Set("Content-Encoding", "gzip")
	return s.WriteGzip(w)
}

func acceptsGzip(r *http.Request) bool {
	for _, line := range r.Header.Values("Accept-Encoding") {
		for _, coding := range strings.Split(line, ",") {
			name, params, _ := strings.Cut(strings.TrimSpace(coding), ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") && strings.ReplaceAll(params, " ", "") != "q=0" {
				return true
			}
		}
	}
	return false
}
