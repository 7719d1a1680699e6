package server

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/store"
)

const (
	defaultPage = 100
	maxPage     = 1000
)

// query reads typed parameters of a query and keeps the first error.
type query struct {
	url.Values
	err error
}

func (q *query) fail(name, want string) {
	if q.err == nil {
		q.err = badRequest("%s must be %s", name, want)
	}
}

// limit is between 1 and maxPage; a negative one is an error, not a page.
func (q *query) limit() int {
	text := q.Get("limit")
	if text == "" {
		return defaultPage
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		q.fail("limit", "between 1 and "+strconv.Itoa(maxPage))
	}
	return n
}

func (q *query) number(name string) int64 {
	text := q.Get(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		q.fail(name, "a number that is not negative")
	}
	return n
}

func (q *query) time(name string) time.Time {
	t, err := parseTime(q.Get(name))
	if err != nil {
		q.fail(name, "a time such as 2026-11-20T10:30:00Z")
	}
	return t
}

func (q *query) flag(name string) bool {
	switch q.Get(name) {
	case "", "false", "0":
		return false
	case "true", "1":
		return true
	}
	q.fail(name, "true or false")
	return false
}

func parseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	return t.UTC(), err
}

type adminUserBody struct {
	*userBody
	MustChange bool  `json:"must_change_password"`
	Epoch      int64 `json:"epoch"`
}

func toAdminUser(u store.User) adminUserBody {
	return adminUserBody{userBody: toUser(u), MustChange: u.MustChange, Epoch: int64(u.Epoch)}
}

func (s *Server) adminUsers(w http.ResponseWriter, r *http.Request, _ authority.Actor) error {
	q := query{Values: r.URL.Query()}
	page := store.Page{After: q.Get("after"), Limit: q.limit()}
	if q.err != nil {
		return q.err
	}
	rows, err := s.authority.Users(r.Context(), page)
	if err != nil {
		return err
	}
	list := make([]adminUserBody, len(rows))
	for i, u := range rows {
		list[i] = toAdminUser(u)
	}
	body := map[string]any{"users": list}
	if len(rows) == page.Limit {
		body["next"] = rows[len(rows)-1].ID
	}
	writeJSON(w, http.StatusOK, body)
	return nil
}

func (s *Server) adminCreateUser(w http.ResponseWriter, r *http.Request, by authority.Actor) error {
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	var in authority.NewUser
	if err := p.strs(map[string]*string{
		"email": &in.Email, "username": &in.Username, "name": &in.Name, "password": &in.Password, "password_hash": &in.PasswordHash,
	}); err != nil {
		return err
	}
	if in.Roles, err = p.list("roles"); err != nil {
		return err
	}
	if in.MustChange, err = p.flag("must_change_password"); err != nil {
		return err
	}
	u, err := s.authority.CreateUser(r.Context(), in, by, s.origin(r))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, toAdminUser(u))
	return nil
}

// userOf finds the user that the path names by id, e-mail address or user name.
func (s *Server) userOf(r *http.Request) (store.User, error) {
	return s.authority.FindUser(r.Context(), r.PathValue("id"))
}

func (s *Server) adminUser(w http.ResponseWriter, r *http.Request, _ authority.Actor) error {
	u, err := s.userOf(r)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toAdminUser(u))
	return nil
}

// endUser serves the calls that end everything of a user and need no body.
func (s *Server) endUser(msg string, end func(context.Context, string, authority.Actor, authority.Origin) (authority.Receipt, error)) func(http.ResponseWriter, *http.Request, authority.Actor) error {
	return func(w http.ResponseWriter, r *http.Request, by authority.Actor) error {
		u, err := s.userOf(r)
		if err != nil {
			return err
		}
		receipt, err := end(r.Context(), u.ID, by, s.origin(r))
		return s.writeEnded(w, msg, receipt, err)
	}
}

func (s *Server) adminEnableUser(w http.ResponseWriter, r *http.Request, by authority.Actor) error {
	u, err := s.userOf(r)
	if err != nil {
		return err
	}
	if err := s.authority.EnableUser(r.Context(), u.ID, by, s.origin(r)); err != nil {
		return err
	}
	u, err = s.authority.FindUser(r.Context(), u.ID)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toAdminUser(u))
	return nil
}

func (s *Server) adminSetPassword(w http.ResponseWriter, r *http.Request, by authority.Actor) error {
	u, err := s.userOf(r)
	if err != nil {
		return err
	}
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	pw, err := p.str("password")
	if err != nil {
		return err
	}
	must, err := p.flag("must_change_password")
	if err != nil {
		return err
	}
	if pw == "" {
		return badRequest("password is missing")
	}
	receipt, err := s.authority.SetPassword(r.Context(), u.ID, pw, must, by, s.origin(r))
	return s.writeEnded(w, "Password set", receipt, err)
}

func (s *Server) adminLogoutUser(w http.ResponseWriter, r *http.Request, by authority.Actor) error {
	u, err := s.userOf(r)
	if err != nil {
		return err
	}
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	why, note, err := reasonOf(p)
	if err != nil {
		return err
	}
	receipt, err := s.authority.LogoutUser(r.Context(), u.ID, why, note, by, s.origin(r))
	return s.writeEnded(w, msgLogoutAll, receipt, err)
}

func (s *Server) writeEnded(w http.ResponseWriter, msg string, receipt authority.Receipt, err error) error {
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s.ended(msg, receipt))
	return nil
}

// writeDryRun says what would have ended.
func writeDryRun(w http.ResponseWriter, receipt authority.Receipt) error {
	writeJSON(w, http.StatusOK, map[string]any{"dry_run": true, "would_end": receipt.Ended})
	return nil
}

func reasonOf(p params) (curfew.Reason, string, error) {
	text, err := p.str("reason")
	if err != nil {
		return "", "", err
	}
	note, err := p.str("note")
	if err != nil {
		return "", "", err
	}
	why := curfew.Reason(text)
	if why == "" {
		why = curfew.ReasonAdmin
	}
	if !why.ForOperators() {
		return "", "", badRequest("reason must be one of %s; put free text into note", curfew.OperatorReasons())
	}
	return why, note, nil
}

func (s *Server) adminSessions(w http.ResponseWriter, r *http.Request, _ authority.Actor) error {
	q := query{Values: r.URL.Query()}
	f := store.SessionFilter{
		Page:     store.Page{After: q.Get("after"), Limit: q.limit()},
		ClientID: q.Get("client_id"), IP: q.Get("ip"), Live: q.flag("live"),
		SeenBefore: q.time("seen_before"), CreatedBefore: q.time("created_before"),
	}
	if q.err != nil {
		return q.err
	}
	if name := q.Get("user"); name != "" {
		u, err := s.authority.FindUser(r.Context(), name)
		if err != nil {
			return err
		}
		f.Subject = u.ID
	}
	rows, err := s.authority.Sessions(r.Context(), f)
	if err != nil {
		return err
	}
	list := make([]sessionBody, len(rows))
	for i, x := range rows {
		list[i] = toSession(x, "")
		list[i].Subject = x.Subject
	}
	body := map[string]any{"sessions": list}
	if len(rows) == f.Limit {
		body["next"] = rows[len(rows)-1].ID
	}
	writeJSON(w, http.StatusOK, body)
	return nil
}

func (s *Server) adminEndSession(w http.ResponseWriter, r *http.Request, by authority.Actor) error {
	p, err := parseForm([]byte(r.URL.RawQuery))
	if err != nil {
		return err
	}
	why, note, err := reasonOf(p)
	if err != nil {
		return err
	}
	receipt, err := s.authority.EndSession(r.Context(), r.PathValue("id"), why, note, by, s.origin(r))
	return s.writeEnded(w, msgLogout, receipt, err)
}

// adminBulkEnd serves POST /admin/sessions/end. A filter must be given: a
// request whose filter was lost on the way must not end everything.
func (s *Server) adminBulkEnd(w http.ResponseWriter, r *http.Request, by authority.Actor) error {
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	why, note, err := reasonOf(p)
	if err != nil {
		return err
	}
	dry, err := p.flag("dry_run")
	if err != nil {
		return err
	}
	var f store.SessionFilter
	var user, created, seen string
	if err := p.strs(map[string]*string{
		"user": &user, "client_id": &f.ClientID, "ip": &f.IP, "created_before": &created, "seen_before": &seen,
	}); err != nil {
		return err
	}
	if f.CreatedBefore, err = parseTime(created); err != nil {
		return badRequest("created_before must be a time such as 2026-11-20T10:30:00Z")
	}
	if f.SeenBefore, err = parseTime(seen); err != nil {
		return badRequest("seen_before must be a time such as 2026-11-20T10:30:00Z")
	}
	if user != "" {
		u, err := s.authority.FindUser(r.Context(), user)
		if err != nil {
			return err
		}
		f.Subject = u.ID
	}
	if f == (store.SessionFilter{}) {
		return badRequest("Give at least one of user, client_id, ip, created_before, seen_before; to end everything use POST /admin/logout with everybody")
	}
	receipt, err := s.authority.BulkEnd(r.Context(), f, why, note, dry, by, s.origin(r))
	if err == nil && dry {
		return writeDryRun(w, receipt)
	}
	return s.writeEnded(w, msgLogout, receipt, err)
}

// adminLogout serves POST /admin/logout: exactly one of user, session, client
// and everybody.
func (s *Server) adminLogout(w http.ResponseWriter, r *http.Request, by authority.Actor) error {
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	why, note, err := reasonOf(p)
	if err != nil {
		return err
	}
	var user, session, client string
	if err := p.strs(map[string]*string{"user": &user, "session": &session, "client": &client}); err != nil {
		return err
	}
	everybody, err := p.flag("everybody")
	if err != nil {
		return err
	}
	dry, err := p.flag("dry_run")
	if err != nil {
		return err
	}
	given := 0
	for _, yes := range []bool{user != "", session != "", client != "", everybody} {
		if yes {
			given++
		}
	}
	if given != 1 {
		return badRequest("Give exactly one of user, session, client and everybody")
	}
	ctx, from := r.Context(), s.origin(r)
	var receipt authority.Receipt
	msg := msgLogout
	switch {
	case user != "":
		u, ferr := s.authority.FindUser(ctx, user)
		if ferr != nil {
			return ferr
		}
		msg = msgLogoutAll
		if dry {
			receipt.Ended, err = s.authority.CountSessions(ctx, store.SessionFilter{Subject: u.ID, Live: true})
		} else {
			receipt, err = s.authority.LogoutUser(ctx, u.ID, why, note, by, from)
		}
	case session != "":
		if dry {
			receipt.Ended, err = s.authority.CountLive(ctx, session)
		} else {
			receipt, err = s.authority.EndSession(ctx, session, why, note, by, from)
		}
	case client != "":
		receipt, err = s.authority.LogoutClient(ctx, client, why, note, dry, by, from)
	default:
		msg = "Logged out everybody"
		receipt, err = s.authority.LogoutEverybody(ctx, why, note, dry, by, from)
	}
	if err == nil && dry {
		return writeDryRun(w, receipt)
	}
	return s.writeEnded(w, msg, receipt, err)
}

func (s *Server) adminRevocations(w http.ResponseWriter, r *http.Request, _ authority.Actor) error {
	q := query{Values: r.URL.Query()}
	after, limit := q.number("after"), q.limit()
	if q.err != nil {
		return q.err
	}
	rows, err := s.authority.Revocations(r.Context(), curfew.Seq(after), limit)
	if err != nil {
		return err
	}
	if rows == nil {
		rows = []curfew.Revocation{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"revocations": rows})
	return nil
}

func (s *Server) adminRevocation(w http.ResponseWriter, r *http.Request, _ authority.Actor) error {
	seq, err := strconv.ParseInt(r.PathValue("seq"), 10, 64)
	if err != nil || seq < 1 {
		return badRequest("A position is a number from 1")
	}
	rev, err := s.authority.Revocation(r.Context(), curfew.Seq(seq))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toProgress(rev, s.authority.Feed().Status(rev.Seq)))
	return nil
}

func (s *Server) adminKeys(w http.ResponseWriter, r *http.Request, _ authority.Actor) error {
	keys, err := s.authority.Keys(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]any{"keys": keys})
	return nil
}

func (s *Server) adminRotateKeys(w http.ResponseWriter, r *http.Request, by authority.Actor) error {
	if err := s.authority.RotateKeys(r.Context(), by, s.origin(r)); err != nil {
		return err
	}
	return s.adminKeys(w, r, by)
}

func (s *Server) adminRevokeKey(w http.ResponseWriter, r *http.Request, by authority.Actor) error {
	receipt, err := s.authority.RevokeKey(r.Context(), r.PathValue("kid"), by, s.origin(r))
	return s.writeEnded(w, "Key revoked", receipt, err)
}

func (s *Server) listAPIKeys(kind string) func(http.ResponseWriter, *http.Request, authority.Actor) error {
	return func(w http.ResponseWriter, r *http.Request, _ authority.Actor) error {
		rows, err := s.authority.APIKeys(r.Context(), kind)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, map[string]any{kind + "s": rows})
		return nil
	}
}

func (s *Server) createAPIKey(kind string) func(http.ResponseWriter, *http.Request, authority.Actor) error {
	return func(w http.ResponseWriter, r *http.Request, by authority.Actor) error {
		p, err := readParams(w, r)
		if err != nil {
			return err
		}
		name, err := p.str("name")
		if err != nil {
			return err
		}
		secret, err := s.authority.CreateAPIKey(r.Context(), name, kind, by, s.origin(r))
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusCreated, map[string]string{"name": name, "key": secret})
		return nil
	}
}

func (s *Server) deleteAPIKey(kind string) func(http.ResponseWriter, *http.Request, authority.Actor) error {
	return func(w http.ResponseWriter, r *http.Request, by authority.Actor) error {
		if err := s.authority.DeleteAPIKey(r.Context(), r.PathValue("name"), kind, by, s.origin(r)); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

func (s *Server) adminAudit(w http.ResponseWriter, r *http.Request, _ authority.Actor) error {
	q := query{Values: r.URL.Query()}
	f := store.AuditFilter{
		After: q.number("after"), Limit: q.limit(), Newest: q.flag("newest"), Session: q.Get("session"),
		Event: audit.Event(q.Get("event")), Since: q.time("since"), Until: q.time("until"),
	}
	if q.err != nil {
		return q.err
	}
	if name := q.Get("user"); name != "" {
		u, err := s.authority.FindUser(r.Context(), name)
		if err != nil {
			return err
		}
		f.Subject = u.ID
	}
	rows, err := s.authority.Audit(r.Context(), f)
	if err != nil {
		return err
	}
	if rows == nil {
		rows = []audit.Entry{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"entries": rows})
	return nil
}

// adminVerifyAudit serves GET /admin/audit/verify. With ?anchor=SEQ:HASH, kept
// from an earlier verification, it detects a trail that was recomputed.
func (s *Server) adminVerifyAudit(w http.ResponseWriter, r *http.Request, _ authority.Actor) error {
	var anchor audit.Head
	if text := r.URL.Query().Get("anchor"); text != "" {
		seq, hash, ok := strings.Cut(text, ":")
		n, err := strconv.ParseInt(seq, 10, 64)
		if !ok || err != nil || n < 1 || anchor.Hash.UnmarshalText([]byte(hash)) != nil {
			return badRequest("anchor must be SEQ:HASH as an earlier verification printed it")
		}
		anchor.Seq = n
	}
	head, err := s.authority.VerifyAudit(r.Context(), anchor)
	body := map[string]any{"ok": err == nil, "head": head}
	if err != nil {
		if !errors.Is(err, audit.ErrBroken) {
			return err
		}
		body["problem"] = err.Error()
	}
	writeJSON(w, http.StatusOK, body)
	return nil
}

func (s *Server) adminBackup(w http.ResponseWriter, r *http.Request, by authority.Actor) error {
	// A large store takes longer than any other call may. Whoever hangs up
	// ends it all the same, at the next write.
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
		return err
	}
	ctx := context.WithoutCancel(r.Context())
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="curfew-backup.db"`)
	return s.authority.Backup(ctx, w, by, s.origin(r))
}
