{% extends "base.html.tpl" %}
{% block title %}Subscribe{% endblock %}
{% block main %}
<h1>{{ newsroom.title }}</h1>
<p>News by mail, now and then. You can leave whenever you like, by the link in each mail.</p>
<form class="card" method="post" action="{{ url_for('readers.subscribe') }}">
  <label for="email">Your e-mail address</label>
  <input id="email" name="email" type="email" autocomplete="email" maxlength="254" required value="{{ email }}"
    {%- if fault %} aria-invalid="true" aria-describedby="fault" autofocus{% endif %}>
  {%- if fault %}
  <p class="fault" id="fault" role="alert">{{ fault }}</p>
  {%- endif %}
  <button>Subscribe</button>
</form>
{%- if issues %}
<h2>What has been sent</h2>
<ul class="list">
  {%- for issue in issues %}
  <li><a href="{{ url_for('readers.read', id=issue.id) }}">{{ issue.title }}</a>
    <time datetime="{{ issue.changed.isoformat() }}">{{ issue.changed.strftime("%-d %B %Y") }}</time></li>
  {%- endfor %}
</ul>
{%- endif %}
{% endblock %}
