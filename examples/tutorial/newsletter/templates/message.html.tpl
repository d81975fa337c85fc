{% extends "base.html.tpl" %}
{% block main %}
<p>{{ text }}</p>
{% if ask %}
<form method="post"><button>Yes</button></form>
{% endif %}
{% endblock %}
