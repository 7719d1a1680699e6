package main

import (
	"net/http"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/curfewhq/curfew/examples/routers/routertest"
	"github.com/curfewhq/curfew/guard"
)

func init() { gin.SetMode(gin.TestMode) }

func TestRoutes(t *testing.T) { routertest.Run(t, routes) }

func TestStreamEnds(t *testing.T) {
	routertest.Ends(t, func(g *guard.Guard, stream http.HandlerFunc) http.Handler {
		r := gin.New()
		r.Use(gin.Recovery())
		r.GET("/", wrap(g.Middleware), gin.WrapF(stream))
		return r
	})
}
