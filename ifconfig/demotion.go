package ifconfig

import "time"

// Demotion is that of a group, as pfsyncctl demotion shows it.
type Demotion struct {
	Group  string          `json:"group"`
	Count  int             `json:"count"`
	Shares []DemotionShare `json:"shares"` // its reasons; none: empty, not nil
}

// DemotionShare is the part that one reason has.
type DemotionShare struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
}

// Demote is a change of what the operator has set for a group.
type Demote struct {
	Group string `json:"group"`
	Count int    `json:"count"` // is added; may be negative
}

// Validate checks what Parse checks.
func (d Demote) Validate() error {
	if err := checkDemoted(d.Group); err != nil {
		return err
	}
	n := max(d.Count, -d.Count)
	if n > MaxCarpdemote {
		return tooDemoted(d.Group)
	}
	return nil
}

// Transition is a change of state, as pfsyncctl monitor shows it.
type Transition struct {
	Number uint64    `json:"number"` // from 1, since the daemon began
	At     time.Time `json:"time"`
	Name   string    `json:"interface"`
	VHID   int       `json:"vhid"`
	Old    string    `json:"old"` // INIT, BACKUP or MASTER
	New    string    `json:"new"`
	Why    string    `json:"why"`
}
