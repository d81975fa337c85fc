<!doctype html>
<html lang="en">
<body style="font-family: sans-serif; line-height: 1.5; max-width: 36em; margin: 0 auto; padding: 1em">
<h1>{{ issue.title }}</h1>
{%- if picture %}
<img src="{{ picture }}" alt="{{ issue.description }}" style="max-width: 100%">
{%- endif %}
{%- for paragraph in issue.text.split("\n\n") %}
<p>{{ paragraph }}</p>
{%- endfor %}
<hr>
<p><small>{{ title }}. <a href="{{ leave }}">Leave</a></small></p>
</body>
</html>
