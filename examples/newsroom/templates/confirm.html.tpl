{% extends "base.html.tpl" %}
{% block title %}Confirm{% endblock %}
{% block main %}
<h1>One more click</h1>
<p>Shall {{ newsroom.title }} be sent to <strong>{{ reader.email }}</strong>?</p>
<form method="post"><button>Yes, send it to me</button></form>
<p>If you have not asked for it, do nothing.</p>
{% endblock %}
