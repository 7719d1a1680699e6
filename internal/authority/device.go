package authority

import (
	"strings"

	"github.com/mileusna/useragent"
)

// deviceName names a user agent for people, such as "Firefox on macOS". It is
// for display only.
func deviceName(agent string) string {
	ua := useragent.Parse(agent)
	name, system := ua.Name, ua.OS
	if ua.Device != "" && ua.Device != "K" { // "K" is what Android sends in place of a model
		system = ua.Device
	}
	switch {
	case name == "":
		return "Unknown device"
	case system == "" || strings.EqualFold(system, name):
		return clip(name, 64)
	}
	return clip(name+" on "+system, 64)
}
