{% extends "base.html.tpl" %}
{% block title %}Leave{% endblock %}
{% block main %}
<h1>Leave {{ newsroom.title }}?</h1>
<p>Nothing more will be sent to <strong>{{ reader.email }}</strong>, and the address is deleted.</p>
<form method="post"><button>Leave</button></form>
{% endblock %}
