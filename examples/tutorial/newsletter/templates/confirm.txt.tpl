Somebody, probably you, has asked for {{ newsletter.title }} at this address.

Follow this link to get it:
{{ link }}
