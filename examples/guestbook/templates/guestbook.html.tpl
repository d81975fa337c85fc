<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>{{ title }}</title>
  </head>
  <body>
    <h1>{{ title }}</h1>
    <form method="post">
      <label>Your words <input name="words" required></label>
      <button>Sign</button>
    </form>
    <ul>
      {% for entry in entries %}
      <li>{{ entry.decode() }}</li>
      {% else %}
      <li>Nobody has signed yet.</li>
      {% endfor %}
    </ul>
  </body>
</html>
