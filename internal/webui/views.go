package webui

import "time"

// Login is the page where people sign in.
type Login struct {
	Return string // where to go then; empty = the account
	Login  string // what was typed before
	// Problem says why the last try failed, for people to read.
	Problem string
	// Ended is why the session before ended, empty if none has.
	Ended  string
	Notice *Notice
	// NewPassword asks for a new password as well.
	NewPassword bool
	// Remember offers to stay signed in when the browser is closed;
	// Remembered is what was chosen before.
	Remember, Remembered bool
	// SignedInAs is the name of whoever is signed in already: "not you?".
	SignedInAs string
	// Demo shows the demo user's name and password, in dev.
	DemoLogin, DemoPassword string
}

// Signout asks before it signs out.
type Signout struct {
	User   string // "Alice" or an address
	Return string
	Others int // other devices that are signed in
	// Session is the id of this session as the API shows it, IdleTimeout that
	// of Account; the page's script watches over both. Optional.
	Session     string
	IdleTimeout time.Duration
}

// Account shows a user's devices.
type Account struct {
	User, Email string
	Devices     []Device // the current one first
	Notice      *Notice
	Problem     string
	// PasswordProblem stands beside the form that changes the password.
	PasswordProblem string
	IdleTimeout     time.Duration // 0 = none
	Now             time.Time
}

// Device is a session.
type Device struct {
	ID        string
	Name      string // "Firefox on Linux"
	UserAgent string
	IP        string
	FirstSeen time.Time
	LastSeen  time.Time
	Expires   time.Time
	Current   bool
}

// Notice says what an ending did.
type Notice struct {
	Kind      string        // "session", "others", "global", "password", "signout"
	Ended     int64         // sessions
	State     string        // "enforced" or "recorded"
	Verifiers int           // services that refuse it now
	Took      time.Duration // until then
}

// Message is a page that says one thing: an error, or that cookies are blocked.
type Message struct {
	Status int // HTTP status
	Title  string
	Text   string
	// Action is where the button leads, with Label on it; empty = no button.
	Action, Label string
}

// Demo is a page with data that only a session gets.
type Demo struct {
	User      string
	Employees []Employee // nil = not loaded yet
	// Session and IdleTimeout are those of Signout. Optional.
	Session     string
	IdleTimeout time.Duration
}

// Employee is a row of the demo.
type Employee struct {
	ID     int    `json:"id"`
	Name   string `json:"name"`
	Gender string `json:"gender"`
	Role   string `json:"role"`
	Salary int    `json:"salary"`
}
