{% extends "base.html.tpl" %}
{% block title %}Team{% endblock %}
{% block main %}
<h1>Team</h1>
{%- if fault %}
<p class="fault" role="alert">{{ fault }}</p>
{%- endif %}
<ul class="list">
  {%- for editor in editors %}
  <li>{{ editor }}{% if editor == g.editor %} <small>(you)</small>{% endif %}</li>
  {%- endfor %}
</ul>
<h2>Add an editor</h2>
<form class="card" method="post" action="{{ url_for('editors.add_editor') }}">
  <label for="name">Name</label>
  <input id="name" name="name" maxlength="80" required autocomplete="off" value="{{ name }}">
  <label for="password">Password, of {{ shortest }} characters or more</label>
  <input id="password" name="password" type="password" minlength="{{ shortest }}" autocomplete="new-password" required>
  <button>Add</button>
</form>
<h2>Your password</h2>
<form class="card" method="post" action="{{ url_for('editors.change_password') }}">
  <label for="old">Present password</label>
  <input id="old" name="old" type="password" autocomplete="current-password" required>
  <label for="new">New password, of {{ shortest }} characters or more</label>
  <input id="new" name="new" type="password" minlength="{{ shortest }}" autocomplete="new-password" required>
  <button>Change it</button>
</form>
<h2>Your devices</h2>
<form class="card" method="post" action="{{ url_for('editors.logout_everywhere') }}">
  <p>Ends your sessions in all browsers, this one too.</p>
  <button class="second">Log out everywhere</button>
</form>
{% endblock %}
