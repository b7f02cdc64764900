package observe

import "time"

// Usage is what one invocation has asked of its pools so far.
type Usage struct {
	Statements  int           // calls that ran a statement, a batch or a COPY
	Rides       int           // how many of them shared a connection
	Rows        int64         // rows returned and changed
	Waited      time.Duration // waits for connections
	Ran         time.Duration // statements, from having a connection to the last answer; those that ran side by side count each
	IdleInTx    time.Duration // transactions that were open and ran nothing
	Longest     time.Duration // the longest statement, without its wait
	LongestText string        // its text, with literals replaced by ?, cut to 200 bytes
	Repeated    int           // how often the text that ran most often ran, at least; 1 or 0: none was repeated
	RepeatText  string        // that text, as LongestText
}
