<!doctype html>
<html lang="en">
<body style="font-family: sans-serif; line-height: 1.5; max-width: 36em; margin: 0 auto; padding: 1em">
<p>Somebody, probably you, has asked for {{ title }} at this address.</p>
<p><a href="{{ link }}">Yes, I want it</a></p>
<p>If it was not you, do nothing, and you will not hear from us again.</p>
</body>
</html>
