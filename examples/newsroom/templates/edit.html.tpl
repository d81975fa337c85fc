{% extends "base.html.tpl" %}
{% block title %}{{ "Edit" if version else "Write" }}{% endblock %}
{% block main %}
<h1>{{ "Edit the issue" if version else "Write an issue" }}</h1>
{%- if faults %}
<ul class="fault" role="alert">
  {%- for fault in faults %}
  <li>{{ fault }}</li>
  {%- endfor %}
</ul>
{%- endif %}
{%- if theirs %}
<section class="card" aria-labelledby="theirs">
  <h2 id="theirs">What is stored now, by {{ theirs.editor }}</h2>
  <p><strong>{{ theirs.title }}</strong></p>
  <pre>{{ theirs.text }}</pre>
</section>
<p>Below is your version. To save it puts it in the place of theirs.</p>
{%- endif %}
<form class="card" method="post" enctype="multipart/form-data">
  {%- if version %}
  <input type="hidden" name="version" value="{{ version }}">
  {%- endif %}
  <label for="title">Title</label>
  <input id="title" name="title" maxlength="120" required value="{{ words.title }}">
  <label for="text">Text <small>An empty line begins a new paragraph.</small></label>
  <textarea id="text" name="text" rows="12" maxlength="50000" required>
{{ words.text }}</textarea>
  <label for="picture">Picture <small>PNG, JPEG or GIF, up to 5 MB.{% if version %} It replaces the present one.{% endif %}</small></label>
  <input id="picture" name="picture" type="file" accept="image/png,image/jpeg,image/gif">
  <label for="description">What the picture shows <small>For those who do not see it.</small></label>
  <input id="description" name="description" maxlength="300" value="{{ words.description }}">
  <button>Save</button>
</form>
{% endblock %}
