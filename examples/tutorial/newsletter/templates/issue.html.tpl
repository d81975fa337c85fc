{% extends "base.html.tpl" %}
{% block head %}
{% if issue.readers is none or done < issue.readers %}
<meta http-equiv="refresh" content="1">
{% endif %}
{% endblock %}
{% block main %}
<h2>{{ issue.title }}</h2>
{% if issue.readers is none %}
<p>The readers are being listed.</p>
{% else %}
<progress max="{{ issue.readers }}" value="{{ done }}"></progress>
<p>Sent to {{ done }} of {{ issue.readers }}.</p>
{% endif %}
{% endblock %}
