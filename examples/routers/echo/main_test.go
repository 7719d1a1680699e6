package main

import (
	"net/http"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/curfewhq/curfew/examples/routers/routertest"
	"github.com/curfewhq/curfew/guard"
)

func TestRoutes(t *testing.T) { routertest.Run(t, routes) }

func TestStreamEnds(t *testing.T) {
	routertest.Ends(t, func(g *guard.Guard, stream http.HandlerFunc) http.Handler {
		e := echo.New()
		e.GET("/", echo.WrapHandler(stream), echo.WrapMiddleware(g.Middleware))
		return e
	})
}
