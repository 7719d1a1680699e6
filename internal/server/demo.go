package server

import (
	"net/http"

	"github.com/curfewhq/curfew/internal/webui"
)

// Demo is what `curfew dev` shows: a user whose password everybody may know.
type Demo struct {
	Login, Password string
}

// employees are nobody.
var employees = []webui.Employee{
	{ID: 1, Name: "Ada Marsh", Gender: "Female", Role: "Night porter", Salary: 61000},
	{ID: 2, Name: "Ben Okafor", Gender: "Male", Role: "Bell ringer", Salary: 54500},
	{ID: 3, Name: "Clara Duval", Gender: "Female", Role: "Lamplighter", Salary: 58200},
	{ID: 4, Name: "Dmitri Volkov", Gender: "Male", Role: "Gatekeeper", Salary: 66800},
	{ID: 5, Name: "Esra Yıldız", Gender: "Female", Role: "Watchmaker", Salary: 72300},
}

// demoPage serves GET /demo: a page with data behind a sign-in, and a button to
// log off.
func (s *Server) demoPage(w http.ResponseWriter, r *http.Request) error {
	c, ok, err := s.signedIn(w, r)
	if err != nil || !ok {
		return err
	}
	v := webui.Demo{User: s.nameOf(r, c), Session: c.Session, IdleTimeout: s.authority.IdleTimeout()}
	if r.URL.Query().Get("load") != "" {
		v.Employees = employees
	}
	return s.pages.Demo(w, http.StatusOK, v)
}

// demoEmployees serves GET /demo/employees, to tokens as well.
func (s *Server) demoEmployees(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.explained(r); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]any{"employees": employees})
	return nil
}
