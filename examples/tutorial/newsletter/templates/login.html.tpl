{% extends "base.html.tpl" %}
{% block main %}
{% if wrong %}
<p role="alert">This password is wrong.</p>
{% endif %}
<form method="post">
  <label>Password <input name="password" type="password" required autofocus></label>
  <button>Log in</button>
</form>
{% endblock %}
