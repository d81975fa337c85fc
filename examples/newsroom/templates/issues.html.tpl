{% extends "base.html.tpl" %}
{% block title %}Issues{% endblock %}
{% block main %}
<h1>Issues</h1>
<p><a class="button" href="{{ url_for('issues.new') }}">Write an issue</a></p>
{%- if issues %}
<ul class="list">
  {%- for issue in issues %}
  <li><a href="{{ url_for('issues.show', id=issue.id) }}">{{ issue.title }}</a>
    <span class="state {{ issue.state }}">{{ issue.state }}</span></li>
  {%- endfor %}
</ul>
{%- else %}
<p>There are none yet.</p>
{%- endif %}
{% endblock %}
