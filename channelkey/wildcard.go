package channelkey

// wildcardChannel reports whether a channel in a key is a pattern: "*" stands for
// any text, and an empty name for any channel. No channel name holds a "*".
func wildcardChannel(s Service, channel string) bool {
	if channel == "" {
		return s != APaaS
	}
	for i := range len(channel) {
		if channel[i] == '*' {
			return true
		}
	}
	return false
}

// matches reports whether a name fits a pattern, in time linear in each star.
func matches(pattern, name string) bool {
	if pattern == "" {
		return true
	}
	p, n, star, from := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			from++
			p, n = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
