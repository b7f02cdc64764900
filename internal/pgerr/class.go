package pgerr

// Class is what is to be done about an error; of those that are joined the greatest counts.
type Class uint8

const (
	None Class = iota // nobody knows
	Retryable
	Misconfigured
	GiveUp
	Unknown
)

// progress is how far it had got, whatever failed.
type progress uint8

const (
	wasSent   progress = iota // to the server, or it may have been
	notSent                   // there was no connection, or all was rolled back
	loggingIn                 // a connection was being opened
)
