<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>{% block title %}{% endblock %} – {{ newsroom.title }}</title>
  <link rel="stylesheet" href="{{ url_for('static', filename='newsroom.css') }}">
  <link rel="icon" href="{{ url_for('static', filename='icon.svg') }}">
  {%- block head %}{% endblock %}
</head>
<body>
  <a class="skip" href="#main">Skip to the content</a>
  <header>
    <a class="brand" href="{{ url_for('readers.home') }}">{{ newsroom.title }}</a>
    <nav aria-label="Main">
      {%- if g.editor %}
      <a href="{{ url_for('issues.index') }}">Issues</a>
      <a href="{{ url_for('editors.team') }}">Team</a>
      <form method="post" action="{{ url_for('editors.logout') }}"><button class="plain">Log out</button></form>
      {%- else %}
      <a href="{{ url_for('editors.login') }}">For editors</a>
      {%- endif %}
    </nav>
  </header>
  <main id="main" tabindex="-1">
    {%- if g.editor %}
    {%- for message in get_flashed_messages() %}
    <p class="note" role="status">{{ message }}</p>
    {%- endfor %}
    {%- endif %}
    {%- block main %}{% endblock %}
  </main>
</body>
</html>
