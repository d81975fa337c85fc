{% extends "base.html.tpl" %}
{% block title %}{{ issue.title }}{% endblock %}
{% block main %}
{% include "_issue.html.tpl" %}
{% endblock %}
