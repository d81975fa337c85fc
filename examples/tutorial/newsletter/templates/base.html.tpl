<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <style>body { max-width: 40em; margin: 2em auto; padding: 0 1em; font-family: sans-serif }</style>
    <title>{{ newsletter.title }}</title>
    {% block head %}{% endblock %}
  </head>
  <body>
    <h1>{{ newsletter.title }}</h1>
    {% block main %}{% endblock %}
  </body>
</html>
