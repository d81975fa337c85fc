{% extends "base.html.tpl" %}
{% block main %}
<p>News by mail, now and then.</p>
<form method="post">
  <label>Your address <input name="email" type="email" required></label>
  <button>Subscribe</button>
</form>
{% endblock %}
