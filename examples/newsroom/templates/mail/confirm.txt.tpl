Somebody, probably you, has asked for {{ title }} at this address.

Follow this link to get it:
{{ link }}

If it was not you, do nothing, and you will not hear from us again.
