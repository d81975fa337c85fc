{% extends "base.html.tpl" %}
{% block title %}{{ title }}{% endblock %}
{% block main %}
<h1>{{ title }}</h1>
<p>{{ text }}</p>
<p><a href="{{ url_for('readers.home') }}">To the front page</a></p>
{% endblock %}
