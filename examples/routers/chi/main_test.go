package main

import (
	"net/http"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/curfewhq/curfew/examples/routers/routertest"
	"github.com/curfewhq/curfew/guard"
)

func TestRoutes(t *testing.T) { routertest.Run(t, routes) }

func TestStreamEnds(t *testing.T) {
	routertest.Ends(t, func(g *guard.Guard, stream http.HandlerFunc) http.Handler {
		r := chi.NewRouter()
		r.With(g.Middleware).Get("/", stream)
		return r
	})
}
