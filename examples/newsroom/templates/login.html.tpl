{% extends "base.html.tpl" %}
{% block title %}Log in{% endblock %}
{% block main %}
<h1>Log in</h1>
<form class="card" method="post">
  {%- if fault %}
  <p class="fault" role="alert">{{ fault }}</p>
  {%- endif %}
  <label for="name">Name</label>
  <input id="name" name="name" autocomplete="username" required value="{{ name }}"{% if not name %} autofocus{% endif %}>
  <label for="password">Password</label>
  <input id="password" name="password" type="password" autocomplete="current-password" required{% if name %} autofocus{% endif %}>
  <button>Log in</button>
</form>
{% endblock %}
