// Package tabletest is the suite that every state table must pass: what the sync
// engine relies on, in the words of pfstate's contract. A new table runs it so:
//
//	for _, c := range tabletest.Cases() {
//		t.Run(c.Name, func(t *testing.T) { c.Run(t, open(t)) })
//	}
//
// where open gives an empty table that is not running yet, and a way to act as
// local traffic upon it. A table that needs channels and timers only can wrap
// each case in synctest.Test; the suite itself does not wait by the clock, but
// for the table to speak.
package tabletest
