//go:build !curfew_fault

package fault

// Enabled says whether this binary was built with the tag curfew_fault.
const Enabled = false

// On reports whether a bug is switched on.
func On(Bug) bool { return false }

// Point is where the process dies if it was told to.
func Point(Step) {}
