package policy

// entry is a statement in an index, with the words that a decision by it needs:
// they are written once, so that deciding allocates nothing.
type entry struct {
	*statement
	document string
	rule     string
	reason   string
}

// policies are the statements of all documents in one place, denials apart
// from the others: of those, the first that matches ends the search.
type policies struct {
	entries     []entry // in order, for explanations
	deny, allow index
}

func (p *policies) add(e entry) {
	p.entries = append(p.entries, e)
	if e.deny {
		p.deny.add(e)
	} else {
		p.allow.add(e)
	}
}

// seal ends the adding: what is rare is known only then.
func (p *policies) seal() {
	p.deny.places.build(p.deny.entries)
	p.allow.places.build(p.allow.entries)
}

// index finds the few statements of one effect that can speak about a request.
// Every statement is listed under its actions, its principals and its
// resources; the shortest of the three lists leads, and the other two questions
// are asked of its members.
type index struct {
	entries []entry
	masks   []actionMask // by entry

	actions     [actionCount][]uint32
	everyAction []uint32

	principals map[string][]uint32 // by account and ARN
	everyone   []uint32            // "*", NotPrincipal, and identity documents

	places resourceIndex
}

func (x *index) add(e entry) {
	id := uint32(len(x.entries))
	x.entries = append(x.entries, e)
	x.masks = append(x.masks, e.actions)
	if e.actions == allActions {
		x.everyAction = append(x.everyAction, id)
	} else {
		for a := Action(1); a < actionCount; a++ {
			if e.actions&maskOf(a) != 0 {
				x.actions[a] = append(x.actions[a], id)
			}
		}
	}
	if e.principals.any || e.principals.not || len(e.principals.names) == 0 {
		x.everyone = append(x.everyone, id)
	} else {
		if x.principals == nil {
			x.principals = map[string][]uint32{}
		}
		for _, name := range e.principals.names {
			x.principals[name] = append(x.principals[name], id)
		}
	}
}

// first returns the first statement that matches, nil for none.
func (x *index) first(q *Request, arn []byte) *entry {
	if len(x.entries) == 0 {
		return nil
	}
	f := finder{x: x, q: q, arn: arn, mask: maskOf(q.Action), best: len(x.entries)}
	c := &q.Caller
	who := [...][]uint32{x.everyone, x.principals[c.Account], x.principals[c.ARN], x.principals[c.RoleARN]}
	what := [...][]uint32{x.everyAction, x.actions[q.Action]}
	byWho, byWhat, byWhere := 0, len(what[0])+len(what[1]), x.places.count(arn)
	for i := range who {
		byWho += len(who[i])
	}
	switch {
	case byWho <= byWhat && byWho <= byWhere:
		for i := range who {
			f.try(who[i])
		}
	case byWhat <= byWhere:
		for i := range what {
			f.try(what[i])
		}
	default:
		for t, rest := &x.places.starts, arn; t != nil; t, rest = t.next(rest) {
			f.try(t.ids)
		}
		for from := x.places.firstWord(arn); from != nil; from = nextWord(from) {
			for t, rest := &x.places.words, from; t != nil; t, rest = t.next(rest) {
				f.try(t.ids)
			}
		}
	}
	if f.best == len(x.entries) {
		return nil
	}
	return &x.entries[f.best]
}

// finder is one search in one index.
type finder struct {
	x    *index
	q    *Request
	arn  []byte
	mask actionMask
	best int // the lowest entry that matches, so that the order of lists does not show
}

// try asks the members of a list, which rises.
func (f *finder) try(ids []uint32) {
	for _, id := range ids {
		if int(id) >= f.best {
			return
		}
		if f.x.masks[id]&f.mask != 0 && f.x.entries[id].matches(f.q, f.arn) {
			f.best = int(id)
			return
		}
	}
}

// matches asks all but the action.
func (s *statement) matches(q *Request, arn []byte) bool {
	if !s.matchesPrincipal(&q.Caller) || !s.matchesResource(arn, &q.Caller) {
		return false
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(q) {
			return false
		}
	}
	return true
}

// matchesPrincipal is true for the statements of identity documents.
func (s *statement) matchesPrincipal(c *Caller) bool {
	p := &s.principals
	return !p.any && len(p.names) == 0 || p.speaksTo(c)
}

func (s *statement) matchesResource(arn []byte, c *Caller) bool {
	if s.anyResource {
		return true
	}
	for i := range s.resources {
		if s.unboundNever && s.resources[i].unresolved(c) {
			return false
		}
		if s.resources[i].matchBytes(arn, c) {
			return !s.notResource
		}
	}
	return s.notResource
}
